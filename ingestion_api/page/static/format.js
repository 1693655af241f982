// Figures as people read them. What is not known is a dash, never a zero.

export const UNKNOWN = "–";
const THIN = "\u202f";

/** A number with thin spaces between thousands. */
export function number(value, decimals = 0) {
  if (value === null || value === undefined) return UNKNOWN;
  const text = Math.abs(value).toFixed(decimals);
  const [whole, part] = text.split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, THIN);
  const sign = value < 0 && Number(text) !== 0 ? "−" : "";
  return sign + grouped + (part ? `.${part}` : "");
}

/** As many decimals as the size of the number deserves. */
export function sized(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const size = Math.abs(value);
  return number(value, size >= 1000 ? 0 : size >= 10 ? 1 : 2);
}

/** "1 meter", "2 meters" */
export const counted = (count, name) => `${number(count)} ${name}${count === 1 ? "" : "s"}`;

/** A length of time in its two largest units; nobody counts seconds of more than ten minutes. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600 && whole % 60) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const secondsBetween = (earlier, later) => (new Date(later) - new Date(earlier)) / 1000;

/** "2026-03-01 10:05" of an ISO time, in UTC. */
export const minute = (iso) => new Date(iso).toISOString().slice(0, 16).replace("T", " ");

/** "10:05" of an ISO time, in UTC. */
export const clock = (iso) => new Date(iso).toISOString().slice(11, 16);

/** insufficient_data -> insufficient data */
export const words = (name) => name.replaceAll("_", " ");

/** An amount of money in the tariff's currency. */
export function money(value, currency) {
  if (value === null || value === undefined) return UNKNOWN;
  return `${number(value, Math.abs(value) < 1000 ? 2 : 0)}${currency ? `${THIN}${currency}` : ""}`;
}

/** An amount of a year, which nobody knows to the cent. */
export const wholeMoney = (value, currency) => `${number(value)}${THIN}${currency}`;

/** How sure an estimate is; nothing of it is certain. */
export const sure = (share) => `${number(Math.min(100 * share, 99))} %`;

/** The page of a device; `kind` is meter or vehicle. */
export const devicePath = (kind, id) => `/${kind}s/${encodeURIComponent(id)}`;
