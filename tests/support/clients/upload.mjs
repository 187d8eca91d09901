// Uploads with one of Node's HTTP clients: `node upload.mjs CLIENT PARAMETERS`, where PARAMETERS is JSON.
// Prints a line for each request: its name, the response's status, and the response's body in base64.

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";

const [client, text] = process.argv.slice(2);
const parameters = JSON.parse(text);

const buildForm = async (Form, Blob_, path, name) => {
  const form = new Form();
  for (const [field, value] of Object.entries(parameters.fields)) form.append(field, value);
  form.append("file", new Blob_([await readFile(path)], { type: "image/jpeg" }), name);
  return form;
};
const resultOf = async (response) => ({ status: response.status, body: Buffer.from(await response.arrayBuffer()) });

const viaFetch = {
  get: async (url, headers) => resultOf(await fetch(url, { headers })),
  post: async (url, headers, path, name) =>
    resultOf(await fetch(url, { method: "POST", headers, body: await buildForm(FormData, Blob, path, name) })),
};

const CLIENTS = {
  fetch: async () => viaFetch,

  /** A body of unknown length; its options are in the query. */
  stream: async () => ({
    ...viaFetch,
    post: async (url, headers, path, name) => {
      const query = new URLSearchParams({ ...parameters.fields, filename: name });
      const type = { "content-type": "image/jpeg" };
      const body = Readable.toWeb(createReadStream(path));
      const options = { method: "POST", headers: { ...headers, ...type }, body, duplex: "half" };
      return resultOf(await fetch(`${url}?${query}`, options));
    },
  }),

  undici: async () => {
    const { request, FormData: Form } = await import("undici");
    const send = async (url, options) => {
      const { statusCode, body } = await request(url, options);
      return { status: statusCode, body: Buffer.from(await body.arrayBuffer()) };
    };
    return {
      get: (url, headers) => send(url, { headers }),
      post: async (url, headers, path, name) =>
        send(url, { method: "POST", headers, body: await buildForm(Form, Blob, path, name) }),
    };
  },

  axios: async () => {
    const { default: axios } = await import("axios");
    const { default: Form } = await import("form-data");
    const options = { responseType: "arraybuffer", validateStatus: null, maxBodyLength: Infinity };
    const toResult = ({ status, data }) => ({ status, body: Buffer.from(data) });
    return {
      get: async (url, headers) => toResult(await axios.get(url, { headers, ...options })),
      post: async (url, headers, path, name) => {
        const form = new Form();
        for (const [field, value] of Object.entries(parameters.fields)) form.append(field, value);
        form.append("file", createReadStream(path), { filename: name });
        return toResult(await axios.post(url, form, { headers: { ...form.getHeaders(), ...headers }, ...options }));
      },
    };
  },

  got: async () => {
    const { default: got } = await import("got");
    const options = { throwHttpErrors: false, responseType: "buffer", retry: { limit: 0 } };
    const toResult = ({ statusCode, body }) => ({ status: statusCode, body });
    return {
      get: async (url, headers) => toResult(await got(url, { headers, ...options })),
      post: async (url, headers, path, name) => {
        const body = await buildForm(FormData, Blob, path, name);
        return toResult(await got.post(url, { headers, body, ...options }));
      },
    };
  },
};

const { get, post } = await CLIENTS[client]();
const access = { authorization: `Bearer ${parameters.key}` };
const print = (name, { status, body }) => console.log(name, status, body.toString("base64"));

const accepted = await post(`${parameters.server}/upload`, access, parameters.photo, parameters.name);
print("upload", accepted);
const { result_url: result } = JSON.parse(accepted.body);
print("result", await get(`${parameters.server}${result}?wait=30`, access));
print("no key", await post(`${parameters.server}/upload`, {}, parameters.large, parameters.name));
print("too large", await post(`${parameters.server}/upload`, access, parameters.large, parameters.name));
print("no image", await post(`${parameters.server}/upload`, access, parameters.text, parameters.name));
