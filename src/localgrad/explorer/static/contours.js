// Lines of equal height on a grid, by marching squares: each cell gives the pieces of line that cross it.

// Corners of a cell: 0 top left, 1 top right, 2 bottom right, 3 bottom left; edge k joins corner k to the next.
const PIECES = [[], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], []];
const CORNERS = [[0, 0], [0, 1], [1, 1], [1, 0]];

// `values` by rows; X and Y take a column and a row, with fractions, to the picture.
export function contour(values, [rows, columns], level, X, Y) {
  let path = "";
  const high = (r, c) => values[r * columns + c];
  for (let r = 0; r + 1 < rows; r++) {
    for (let c = 0; c + 1 < columns; c++) {
      const corner = CORNERS.map(([dr, dc]) => high(r + dr, c + dc));
      if (!corner.every(Number.isFinite)) continue;
      const kind = corner.reduce((sum, x, k) => sum + (x > level ? 1 << k : 0), 0);
      const at = (edge) => {
        const [from, to] = [edge, (edge + 1) % 4];
        const part = (level - corner[from]) / (corner[to] - corner[from]);
        const [r0, c0] = CORNERS[from], [r1, c1] = CORNERS[to];
        return `${X(c + c0 + part * (c1 - c0)).toFixed(1)} ${Y(r + r0 + part * (r1 - r0)).toFixed(1)}`;
      };
      for (const [from, to] of PIECES[kind]) path += `M${at(from)}L${at(to)}`;
    }
  }
  return path;
}
