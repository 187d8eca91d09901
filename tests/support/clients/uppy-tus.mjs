// For a page: Uppy's Tus plugin with no options but its endpoint, and shorter delays between tries.

import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

/** Uploads a photo, and zeros up to a size, as a file of that name. Resolves to the URLs and errors that Uppy has. */
window.upload = async (endpoint, name, photo, size) => {
  const uppy = new Uppy();
  uppy.use(Tus, { endpoint, retryDelays: Array(200).fill(50) });
  const data = new Uint8Array(size);
  data.set(photo);
  uppy.addFile({ name, type: "image/jpeg", data: new Blob([data], { type: "image/jpeg" }) });
  const { successful, failed } = await uppy.upload();
  return { urls: successful.map((file) => file.uploadURL), errors: failed.map((file) => file.error) };
};
