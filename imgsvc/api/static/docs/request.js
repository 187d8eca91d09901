/** The request that a form describes: as fetch sends it, and as a curl command. */

import { BASE_PATH } from "../shared/base-path.js";

/** Returns {method, url, headers, content}; the content is a File, a string, or a list of [name, value] form fields. */
export function buildRequest({ method, path }, values, body, key) {
  const query = new URLSearchParams();
  const headers = {};
  let url = BASE_PATH + path;
  for (const { parameter, value } of values) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (parameter.in === "query") query.append(parameter.name, value);
    else headers[parameter.name] = value;
  }
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body.type) headers["Content-Type"] = body.type;
  return { method: method.toUpperCase(), url: query.size ? `${url}?${query}` : url, headers, content: body.content };
}

export function sendRequest({ method, url, headers, content }, signal) {
  let body = content;
  if (Array.isArray(content)) {
    body = new FormData();
    for (const [name, value] of content) body.append(name, value);
  }
  return fetch(url, { method, headers, body, signal, cache: "no-store" });
}

/** The key is left out, so that the command can be shared. */
export function curlCommand({ method, url, headers, content }) {
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

/** Quotes a word for a POSIX shell. */
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
