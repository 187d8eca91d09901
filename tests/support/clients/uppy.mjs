// For a page: Uppy's XHR plugin with no options but its endpoint.

import Uppy from "@uppy/core";
import XHRUpload from "@uppy/xhr-upload";

/** Uploads bytes as a file of that name. Resolves to the URLs and errors that Uppy reads from the response. */
window.upload = async (endpoint, name, bytes) => {
  const uppy = new Uppy();
  uppy.use(XHRUpload, { endpoint });
  uppy.addFile({ name, type: "image/jpeg", data: new Blob([new Uint8Array(bytes)], { type: "image/jpeg" }) });
  const { successful, failed } = await uppy.upload();
  return { urls: successful.map((file) => file.uploadURL), errors: failed.map((file) => file.error) };
};
