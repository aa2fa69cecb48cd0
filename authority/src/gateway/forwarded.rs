//! What a gateway's question over HTTP is about: by its own request line, or by three headers. Which
//! of them is a setting; the other is not looked at.

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::config::RequestForm;

/// What comes before the original path.
pub(super) const PREFIX: &str = "/v1/authorize";

/// The original request's line; what is not said exactly once is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) hosts: Vec<&'a [u8]>,
}

impl<'a> Told<'a> {
    pub(super) fn read(
        form: RequestForm,
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Self {
        match form {
            RequestForm::Path => Self {
                method: method.as_str(),
                target: original_target(uri),
                hosts: hosts(uri, headers),
            },
            RequestForm::Forwarded => Self {
                method: one(headers, "x-forwarded-method"),
                // A question for anything else comes from a gateway that is set up otherwise.
                target: match original_target(uri) {
                    "" => one(headers, "x-forwarded-uri"),
                    _ => "",
                },
                hosts: values(headers, "x-forwarded-host"),
            },
        }
    }
}

/// Every value of a header.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    match values(headers, name)[..] {
        [value] => std::str::from_utf8(value).unwrap_or_default(),
        _ => "",
    }
}

/// Every host that the request names: HTTP/1.1 has it in a header, HTTP/2 in `:authority`.
fn hosts<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Vec<&'a [u8]> {
    let mut hosts = values(headers, header::HOST.as_str());
    if let Some(authority) = uri.authority().map(|authority| authority.as_str().as_bytes())
        && hosts != [authority]
    {
        hosts.push(authority);
    }
    hosts
}

/// Path and query after the prefix, byte for byte as the gateway sent them.
fn original_target(uri: &Uri) -> &str {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    target.strip_prefix(PREFIX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(form: RequestForm, target: &str, sent: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let (method, uri) = (Method::GET, target.parse().unwrap());
        let told = Told::read(form, &method, &uri, &headers);
        let hosts: Vec<_> = told.hosts.iter().map(|host| String::from_utf8_lossy(host)).collect();
        format!("{} {} {}", told.method, told.target, hosts.join("|"))
    }

    #[test]
    fn targets_stay_as_they_were_sent() {
        let cases = [
            ("/v1/authorize/v1/x?y=%2e%2E&z", "/v1/x?y=%2e%2E&z"),
            ("/v1/authorize/", "/"),
            ("/v1/authorize//a/../b", "//a/../b"),
            ("/v1/authorize", ""),
            ("/v1/authorize?x=1", "?x=1"),
        ];
        for (sent, original) in cases {
            assert_eq!(told(RequestForm::Path, sent, &[]), format!("GET {original} "));
        }
    }

    #[test]
    fn what_is_forwarded_counts_only_where_it_is_configured() {
        const SENT: [(&str, &str); 4] = [
            ("host", "authority"),
            ("x-forwarded-method", "PUT"),
            ("x-forwarded-uri", "/b?c"),
            ("x-forwarded-host", "mesh"),
        ];
        let forwarded = RequestForm::Forwarded;
        assert_eq!(told(RequestForm::Path, "/v1/authorize/a", &SENT), "GET /a authority");
        assert_eq!(told(forwarded, "/v1/authorize", &SENT), "PUT /b?c mesh");
        assert_eq!(told(forwarded, "/v1/authorize/a", &SENT), "PUT  mesh");
        assert_eq!(told(forwarded, "/v1/authorize", &[]), "  ");
        for twice in 1..4 {
            let mut sent = SENT.to_vec();
            sent.push(SENT[twice]);
            let expected = ["PUT /b?c mesh", " /b?c mesh", "PUT  mesh", "PUT /b?c mesh|mesh"];
            assert_eq!(told(forwarded, "/v1/authorize", &sent), expected[twice]);
        }
    }
}
