// A request as the form has it: as fetch sends it, and as curl would.

const BASE = new URL("..", import.meta.url).pathname.slice(0, -1); // what the service is published below

/** What the fields of a form come to: {method, url, headers, body}, where a body is a File, a text, or a list of parts. */
export function assemble({ method, path }, fields, body, key) {
  const query = new URLSearchParams();
  const headers = {};
  let url = BASE + path;
  for (const { parameter, value } of fields) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (parameter.in === "query") query.append(parameter.name, value);
    else headers[parameter.name] = value;
  }
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body.type) headers["Content-Type"] = body.type;
  return { method: method.toUpperCase(), url: query.size ? `${url}?${query}` : url, headers, content: body.content };
}

export function send({ method, url, headers, content }, signal) {
  let body = content;
  if (Array.isArray(content)) {
    body = new FormData();
    for (const [name, value] of content) body.append(name, value);
  }
  return fetch(url, { method, headers, body, signal, cache: "no-store" });
}

export function curl({ method, url, headers, content }) {
  const words = ["curl"];
  if (method === "HEAD") words.push("-I");
  else if (method !== "GET" && !(method === "POST" && content !== undefined)) words.push("-X", method);
  for (const [name, value] of Object.entries(headers)) {
    words.push("-H", quote(name === "Authorization" ? `${name}: Bearer …` : `${name}: ${value}`));
  }
  if (Array.isArray(content)) {
    for (const [name, value] of content)
      words.push("-F", quote(`${name}=${value instanceof File ? `@${value.name}` : value}`));
  } else if (content instanceof File) words.push("--data-binary", quote(`@${content.name}`));
  else if (content !== undefined) words.push("--data", quote(content));
  return [...words, quote(location.origin + url)].join(" ");
}

/** As a POSIX shell reads it back. */
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
