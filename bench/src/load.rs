//! Requests over connections that stay, and the CPU time of the process that answers them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Failure;

/// How to reach a server.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// As `localhost`.
    Tls(SocketAddr, Arc<ClientConfig>),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Far above what an answer takes on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);

impl Way {
    fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let tcp = |address: &SocketAddr| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER))?;
            Ok::<_, Failure>(stream)
        };
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER))?;
                Box::new(stream)
            }
            Self::Tcp(address) => Box::new(tcp(address)?),
            Self::Tls(address, config) => {
                let name = ServerName::try_from("localhost")?;
                let session = ClientConnection::new(config.clone(), name)?;
                Box::new(StreamOwned::new(session, tcp(address)?))
            }
        })
    }
}

/// One connection that speaks HTTP/1.1.
struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads the whole answer, which must be a 200.
    fn ask(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        self.buffer.clear();
        let mut chunk = [0; 4096];
        loop {
            let read = self.stream.read(&mut chunk)?;
            let Some(new @ [_, ..]) = chunk.get(..read) else {
                return Err("the server closed a connection".into());
            };
            self.buffer.extend_from_slice(new);
            if is_whole(&self.buffer)? {
                return Ok(());
            }
        }
    }
}

/// Whether an answer is there with all of its body.
fn is_whole(answer: &[u8]) -> Result<bool, Failure> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = answer.split_at(end + 4);
    let head = std::str::from_utf8(head)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("another answer than 200:\n{head}").into());
    }
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(body.len() >= length.ok_or("an answer without a length")??)
}

/// The whole answer to a request over a connection of its own.
pub(crate) fn answer(way: &Way, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut connection = Connection { stream: way.connect()?, buffer: Vec::new() };
    connection.ask(request)?;
    Ok(connection.buffer)
}

/// Connections that are open and have answered once.
pub(crate) struct Load(Vec<Connection>);

impl Load {
    pub(crate) fn open(way: &Way, connections: usize, first: &[u8]) -> Result<Self, Failure> {
        Self::open_each((0..connections).map(|_| (way, first)))
    }

    /// The same, each in a way and with a first request of its own. Request number *n* of a closed loop goes over
    /// the *n*th connection, in turns.
    pub(crate) fn open_each<'a>(
        all: impl Iterator<Item = (&'a Way, &'a [u8])>,
    ) -> Result<Self, Failure> {
        let open = |(way, first): (&Way, &[u8])| {
            let mut connection = Connection { stream: way.connect()?, buffer: Vec::new() };
            connection.ask(first)?;
            Ok(connection)
        };
        Ok(Self(all.map(open).collect::<Result<_, Failure>>()?))
    }

    /// Closed loop: each connection sends its next request when it has its answer. Returns how long all
    /// of them took.
    pub(crate) fn send(&mut self, requests: &[Vec<u8>], total: usize) -> Result<Duration, Failure> {
        let count = self.0.len().max(1);
        let began = Instant::now();
        self.each(|first, connection| {
            for number in (first..total).step_by(count) {
                if let Some(request) = requests.get(number % requests.len().max(1)) {
                    connection.ask(request)?;
                }
            }
            Ok(())
        })?;
        Ok(began.elapsed())
    }

    /// Open loop: requests are due at a fixed rate, whatever became of those before. Returns how long each
    /// took, counted from when it was due, the shortest first.
    pub(crate) fn pace(
        &mut self,
        requests: &[Vec<u8>],
        per_second: u32,
        total: usize,
    ) -> Result<Vec<Duration>, Failure> {
        let count = self.0.len().max(1);
        let (between, began) = (Duration::from_secs(1) / per_second, Instant::now());
        let latencies = self.each(|first, connection| {
            let mut latencies = Vec::new();
            for number in (first..total).step_by(count) {
                let due = began + between * u32::try_from(number)?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if let Some(request) = requests.get(number % requests.len().max(1)) {
                    connection.ask(request)?;
                    latencies.push(due.elapsed());
                }
            }
            Ok(latencies)
        })?;
        let mut latencies: Vec<_> = latencies.into_iter().flatten().collect();
        latencies.sort_unstable();
        Ok(latencies)
    }

    /// Each connection on a thread of its own.
    fn each<T: Send>(
        &mut self,
        work: impl Fn(usize, &mut Connection) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        thread::scope(|scope| {
            let work = &work;
            let connections = self.0.iter_mut().enumerate();
            let threads: Vec<_> = connections
                .map(|(first, connection)| scope.spawn(move || work(first, connection)))
                .collect();
            let done = threads.into_iter().map(|thread| thread.join());
            done.map(|done| done.map_err(|_| Failure::from("a client gave up"))?).collect()
        })
    }
}

/// CPU time, user and system, of all threads of a process so far.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let mut nanoseconds: u64 = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ended in between takes its time with it.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let running = text.split(' ').next().ok_or("the kernel does not tell CPU times")?;
        nanoseconds = nanoseconds.saturating_add(running.trim().parse()?);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Proportional set size of a process, in KiB.
pub(crate) fn memory_of(pid: u32) -> Result<u64, Failure> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let size = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.strip_suffix("kB"));
    Ok(size.ok_or("the kernel does not tell sizes")?.trim().parse()?)
}

/// What so many requests over so many connections cost the process that answers them.
pub(crate) fn cpu_of_answers(
    pid: u32,
    way: &Way,
    requests: &[Vec<u8>],
    first: &[u8],
    total: usize,
    connections: usize,
) -> Result<Duration, Failure> {
    let mut load = Load::open(way, connections, first)?;
    let before = cpu_of(pid)?;
    load.send(requests, total)?;
    Ok(cpu_of(pid)?.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body_and_must_be_a_yes() {
        let whole = |text: &str| is_whole(text.as_bytes()).map_err(|error| error.to_string());
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole(good), Ok(true));
        assert_eq!(whole(&good[..good.len() - 1]), Ok(false));
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-le"), Ok(false));
        assert!(whole("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(whole("HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
