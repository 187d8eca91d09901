// The server sends a comment every 15 s: a stream that is silent for longer has lost its other end.
const IDLE_MS = 45_000;

/** The events of a `text/event-stream` body (HTML Standard, 9.2.6) as {event, data}, until it ends or falls silent. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let fields = {};
  try {
    for (;;) {
      const silence = setTimeout(() => reader.cancel(), IDLE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
        if (line) add(fields, line);
        else {
          if (fields.data !== undefined) yield { event: fields.event ?? "message", data: fields.data };
          fields = {};
        }
      }
    }
  } finally {
    await reader.cancel();
  }
}

function add(fields, line) {
  const [, name, value] = line.match(/^([^:]*)(?:: ?)?(.*)$/);
  fields[name] = name === "data" && fields.data !== undefined ? `${fields.data}\n${value}` : value;
}
