// One client of Node's world: `node upload.mjs CLIENT ORDER`, where ORDER is JSON.
// Says of each thing that it tries, in a line: its name, the answer's status, and the answer's body in base64.

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";

const [client, text] = process.argv.slice(2);
const order = JSON.parse(text);

const formOf = async (Form, Blob_, path, name) => {
  const form = new Form();
  for (const [field, value] of Object.entries(order.fields)) form.append(field, value);
  form.append("file", new Blob_([await readFile(path)], { type: "image/jpeg" }), name);
  return form;
};
const answerOf = async (response) => ({ status: response.status, body: Buffer.from(await response.arrayBuffer()) });

const viaFetch = {
  get: async (url, headers) => answerOf(await fetch(url, { headers })),
  post: async (url, headers, path, name) =>
    answerOf(await fetch(url, { method: "POST", headers, body: await formOf(FormData, Blob, path, name) })),
};

const CLIENTS = {
  fetch: async () => viaFetch,

  /** A body whose length nobody knows beforehand; its options stand in the query. */
  stream: async () => ({
    ...viaFetch,
    post: async (url, headers, path, name) => {
      const query = new URLSearchParams({ ...order.fields, filename: name });
      const type = { "content-type": "image/jpeg" };
      const body = Readable.toWeb(createReadStream(path));
      const options = { method: "POST", headers: { ...headers, ...type }, body, duplex: "half" };
      return answerOf(await fetch(`${url}?${query}`, options));
    },
  }),

  undici: async () => {
    const { request, FormData: Form } = await import("undici");
    const ask = async (url, options) => {
      const { statusCode, body } = await request(url, options);
      return { status: statusCode, body: Buffer.from(await body.arrayBuffer()) };
    };
    return {
      get: (url, headers) => ask(url, { headers }),
      post: async (url, headers, path, name) =>
        ask(url, { method: "POST", headers, body: await formOf(Form, Blob, path, name) }),
    };
  },

  axios: async () => {
    const { default: axios } = await import("axios");
    const { default: Form } = await import("form-data");
    const options = { responseType: "arraybuffer", validateStatus: null, maxBodyLength: Infinity };
    const answer = ({ status, data }) => ({ status, body: Buffer.from(data) });
    return {
      get: async (url, headers) => answer(await axios.get(url, { headers, ...options })),
      post: async (url, headers, path, name) => {
        const form = new Form();
        for (const [field, value] of Object.entries(order.fields)) form.append(field, value);
        form.append("file", createReadStream(path), { filename: name });
        return answer(await axios.post(url, form, { headers: { ...form.getHeaders(), ...headers }, ...options }));
      },
    };
  },

  got: async () => {
    const { default: got } = await import("got");
    const options = { throwHttpErrors: false, responseType: "buffer", retry: { limit: 0 } };
    const answer = ({ statusCode, body }) => ({ status: statusCode, body });
    return {
      get: async (url, headers) => answer(await got(url, { headers, ...options })),
      post: async (url, headers, path, name) => {
        const body = await formOf(FormData, Blob, path, name);
        return answer(await got.post(url, { headers, body, ...options }));
      },
    };
  },
};

const { get, post } = await CLIENTS[client]();
const access = { authorization: `Bearer ${order.key}` };
const say = (name, { status, body }) => console.log(name, status, body.toString("base64"));

const accepted = await post(`${order.server}/upload`, access, order.photo, order.name);
say("upload", accepted);
const { result_url: result } = JSON.parse(accepted.body);
say("result", await get(`${order.server}${result}?wait=30`, access));
say("no key", await post(`${order.server}/upload`, {}, order.large, order.name));
say("too large", await post(`${order.server}/upload`, access, order.large, order.name));
say("no image", await post(`${order.server}/upload`, access, order.text, order.name));
