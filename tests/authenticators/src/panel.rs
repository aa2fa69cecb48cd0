//! The key's front: a button, a fingerprint sensor's surface and the plug, worked over a socket.
//!
//! The control socket is a Unix *stream* socket. One command a line; each is answered with `ok` or
//! `unknown command` after it took effect, so a test needs no sleep:
//!
//! | command | effect |
//! |---|---|
//! | `touch` | one touch, kept until the firmware asks |
//! | `touch auto`, `touch manual` | touched whenever asked, or only by `touch` (forgets kept touches) |
//! | `finger NAME`, `dirty` | one press on the sensor, kept until the firmware asks |
//! | `deny` | one refusal of the person, kept until the firmware asks (opensk only) |
//! | `wait` | answered when the firmware waits for a person |
//! | `unplug`, `replug` | all openers see the end; power cycle (credentials stay with `--state`) |
//! | `quit` | ends the process |

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wire::{Wire, remove_if_present};

/// What lies on the fingerprint sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Press {
    /// A clean image of the finger with this name.
    Finger(String),
    /// An image of too poor quality to say whose finger it is.
    Dirty,
}

/// State of button and sensor. Touches and presses queue up until the firmware asks for them.
#[derive(Debug)]
pub struct Panel {
    auto_touch: AtomicBool,
    touches: AtomicU32,
    denials: AtomicU32,
    presses: Mutex<VecDeque<Press>>,
    pressed: Condvar,
    waiting: Mutex<bool>,
    began_to_wait: Condvar,
}

impl Panel {
    /// A panel with nobody at it; with `auto_touch` the button counts as touched whenever asked.
    pub fn new(auto_touch: bool) -> Arc<Self> {
        Arc::new(Self {
            auto_touch: AtomicBool::new(auto_touch),
            touches: AtomicU32::new(0),
            denials: AtomicU32::new(0),
            presses: Mutex::default(),
            pressed: Condvar::new(),
            waiting: Mutex::new(false),
            began_to_wait: Condvar::new(),
        })
    }

    /// Whether the button is touched now; consumes a queued touch.
    pub fn take_touch(&self) -> bool {
        self.auto_touch.load(Ordering::SeqCst)
            || self
                .touches
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
    }

    /// Whether the person refuses now; consumes a queued refusal.
    pub fn take_denial(&self) -> bool {
        self.denials
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Waits at most `timeout` for a press on the sensor.
    pub fn take_press(&self, timeout: Duration) -> Option<Press> {
        let presses = self.presses.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut presses, _) = self
            .pressed
            .wait_timeout_while(presses, timeout, |presses| presses.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        presses.pop_front()
    }

    /// Notes whether the firmware waits for a person (the blinking light).
    pub fn set_waiting(&self, waiting: bool) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
        self.began_to_wait.notify_all();
    }

    /// Whether the firmware waits for a person.
    pub fn is_waiting(&self) -> bool {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the firmware waits for a person.
    fn watch_light(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.began_to_wait.wait_while(waiting, |waiting| !*waiting));
    }

    fn press(&self, press: Press) {
        self.presses.lock().unwrap_or_else(PoisonError::into_inner).push_back(press);
        self.pressed.notify_all();
    }

    fn set_auto_touch(&self, auto: bool) {
        self.auto_touch.store(auto, Ordering::SeqCst);
        self.touches.store(0, Ordering::SeqCst);
    }
}

/// Serves the control socket from background threads.
pub fn serve(path: &Path, panel: Arc<Panel>, wire: Arc<Wire>) -> io::Result<()> {
    remove_if_present(path)?;
    let listener = UnixListener::bind(path)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (panel, wire) = (Arc::clone(&panel), Arc::clone(&wire));
            thread::spawn(move || converse(&stream, &panel, &wire));
        }
    });
    Ok(())
}

fn converse(stream: &UnixStream, panel: &Panel, wire: &Wire) -> io::Result<()> {
    let mut answers = stream;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["touch"] => {
                panel.touches.fetch_add(1, Ordering::SeqCst);
            }
            ["deny"] => {
                panel.denials.fetch_add(1, Ordering::SeqCst);
            }
            ["touch", "auto"] => panel.set_auto_touch(true),
            ["touch", "manual"] => panel.set_auto_touch(false),
            ["finger", name] => panel.press(Press::Finger((*name).to_owned())),
            ["wait"] => panel.watch_light(),
            ["dirty"] => panel.press(Press::Dirty),
            ["unplug"] => wire.unplug(),
            ["replug"] => {
                wire.unplug();
                answers.write_all(b"ok\n")?;
                return Err(power_cycle());
            }
            ["quit"] => std::process::exit(0),
            _ => {
                answers.write_all(b"unknown command\n")?;
                continue;
            }
        }
        answers.write_all(b"ok\n")?;
    }
    Ok(())
}

/// Power loss and return: the same program again, all volatile state gone. Keeps pid and stdin.
fn power_cycle() -> io::Error {
    match std::env::current_exe() {
        Ok(program) => Command::new(program).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    }
}
