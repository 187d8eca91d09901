/** The visitor's API key. It is stored until the tab is closed, and shared by all pages of the service. */

const ITEM = "imgsvc.key";

/** "" without one. */
export const storedKey = () => sessionStorage.getItem(ITEM) ?? "";

export function storeKey(key) {
  sessionStorage.setItem(ITEM, key.trim());
}

export function forgetKey() {
  sessionStorage.removeItem(ITEM);
}
