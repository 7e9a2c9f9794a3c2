/** While a simulation runs, nobody may look at a real clock, or throw real dice: a seed would no longer decide all. */

const FORBIDDEN: [object: object, name: string][] = [
  [Date, 'now'],
  [performance, 'now'],
  [Math, 'random'],
  [globalThis, 'setTimeout'],
  [globalThis, 'setInterval'],
  [globalThis, 'setImmediate'],
];

/** Until what it returns is called. */
export function guard(): () => void {
  const kept = FORBIDDEN.map(([object, name]) => Object.getOwnPropertyDescriptor(object, name));
  for (const [object, name] of FORBIDDEN) {
    const value = () => {
      throw new Error(`${name} was called: a seed doesn't decide that`);
    };
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
  }
  return () =>
    FORBIDDEN.forEach(([object, name], i) => {
      if (kept[i]) Object.defineProperty(object, name, kept[i]);
      else delete (object as Record<string, unknown>)[name];
    });
}
