/** What a result has, as the page shows it. */

/** The files of a result with the names of their variants. A responsive set stands as its fallback, with its `html`. */
export const filesOf = ({ variants }) =>
  Object.entries(variants).map(([variant, made]) =>
    made.sources ? { variant, ...made.fallback, html: made.html, count: countOf(made) } : { variant, ...made },
  );

/** Those of them that show all of the original, the smallest first. */
export const wholeFiles = (result) =>
  filesOf(result)
    .filter((file) => isWhole(file, result.original))
    .toSorted(bySize);

/** How many percent smaller a file is than the original; negative where it is larger. */
export const savedPercent = (file, original) => Math.round(100 * (1 - file.bytes / original.bytes));

export const bySize = (a, b) => a.width * a.height - b.width * b.height;

const countOf = ({ sources }) => sources.reduce((count, { files }) => count + files.length, 0);

/** Its sides are rounded to pixels, so that they are those of the original within one of its own. */
function isWhole(file, original) {
  const scale = file.width / original.width;
  return Math.abs(file.height - scale * original.height) <= 1;
}
