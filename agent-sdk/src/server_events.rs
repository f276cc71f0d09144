//! Server-sent events, as the HTML standard has them: read from a response as it comes.

use reqwest::Response;

/// Bytes of one event at most; a larger one ends the stream.
const EVENT_BYTES: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// `event:`, if it has a name.
    pub name: Option<String>,
    /// `id:`, if it says one.
    pub id: Option<String>,
    /// `data:`, its lines joined; absent in one that only moves the id.
    pub data: Option<String>,
}

/// Events on their way; larger ones than 4 MiB end them.
pub struct ServerEvents {
    response: Response,
    bytes: Vec<u8>,
}

impl ServerEvents {
    /// Those of a response that was accepted as `text/event-stream`.
    pub fn new(response: Response) -> ServerEvents {
        ServerEvents { response, bytes: Vec::new() }
    }

    /// The next event; `None` when the stream ended, for whatever reason. May be dropped at any time.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
                match read(&String::from_utf8_lossy(&block)) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            if self.bytes.len() > EVENT_BYTES {
                return None;
            }
            // Why it ended makes no difference: it is opened again.
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.bytes.extend(chunk.iter().filter(|byte| **byte != b'\r'));
        }
    }
}

impl std::fmt::Debug for ServerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerEvents").finish_non_exhaustive()
    }
}

/// One block of lines; `None` for comments alone.
fn read(block: &str) -> Option<ServerEvent> {
    let mut event = ServerEvent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = Some(value.to_owned()),
            "id" => event.id = Some(value.to_owned()),
            "data" => match &mut event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    (event != ServerEvent::default()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_its_lines_say() {
        let event = |name: Option<&str>, id: Option<&str>, data: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            Some(ServerEvent { name: text(name), id: text(id), data: text(data) })
        };
        assert_eq!(read(": hello\n\n"), None);
        assert_eq!(read("id: 7\ndata: a\ndata:b\n\n"), event(None, Some("7"), Some("a\nb")));
        assert_eq!(
            read("event: error\ndata: {\"a\": 1}\n\n"),
            event(Some("error"), None, Some("{\"a\": 1}"))
        );
        assert_eq!(read("id: 8\n\n"), event(None, Some("8"), None));
    }
}
