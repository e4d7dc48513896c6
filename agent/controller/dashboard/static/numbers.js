// Numbers as people read them.

export function short(value) {
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(value < 0.1 ? 2 : 1);
  return Math.round(value).toLocaleString("en");
}

export const rate = (perSecond) => `${short(perSecond)}/s`;

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

// Whether connections fail just now: all, some or none of them.
export function failing(edge) {
  const { opened, failed } = edge.active ? edge.rate : edge.total;
  if (!failed) return "none";
  return failed >= opened * 0.99 ? "all" : "some";
}
