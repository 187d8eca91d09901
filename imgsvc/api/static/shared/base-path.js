/** The path that the service is published below: "" at the root of a host, or such as "/images". */
export const BASE_PATH = new URL("../..", import.meta.url).pathname.slice(0, -1);
