/** What JSON that is read back must look like, before anything relies on it: a check for each kind of value. */
export type Check = (value: unknown) => boolean;

export const count: Check = (v) => Number.isSafeInteger(v) && (v as number) >= 0;
export const string: Check = (v) => typeof v === 'string';

export const among =
  (...values: unknown[]): Check =>
  (v) =>
    values.includes(v);

export const or =
  (...checks: Check[]): Check =>
  (v) =>
    checks.some((check) => check(v));

export const listOf =
  (check: Check): Check =>
  (v) =>
    Array.isArray(v) && v.every(check);

const isObject = (v: unknown): v is object => typeof v === 'object' && v !== null && !Array.isArray(v);

export const objectOf =
  (check: Check): Check =>
  (v) =>
    isObject(v) && Object.values(v).every(check);

/** An object of a type, with a check for each of its members. */
export const form =
  <T>(members: { [K in keyof T]-?: Check }): Check =>
  (v) =>
    isObject(v) && Object.entries<Check>(members).every(([name, check]) => check((v as Record<string, unknown>)[name]));
