// The server sends a comment every 15 s: a stream that is silent for longer has lost its connection.
const IDLE_TIMEOUT_MS = 45_000;

/** The events of a `text/event-stream` body (HTML Standard, 9.2.6) as {event, data}, until it ends or times out. */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let partialLine = "";
  let fields = {};
  try {
    for (;;) {
      const timeout = setTimeout(() => reader.cancel(), IDLE_TIMEOUT_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(timeout));
      if (done) return;
      const lines = (partialLine + value).split("\n");
      partialLine = lines.pop();
      for (const line of lines.map((text) => text.replace(/\r$/, ""))) {
        if (line) addField(fields, line);
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

function addField(fields, line) {
  const [, name, value] = line.match(/^([^:]*)(?:: ?)?(.*)$/);
  fields[name] = name === "data" && fields.data !== undefined ? `${fields.data}\n${value}` : value;
}
