'use strict';
// seeds_judge.js FOLDER: packets of every encapsulation, for fuzz_judge.c.
const fs = require('node:fs');
const path = require('node:path');
const { LINK_TYPES, packets, random, world } = require('./random.js');

const [folder] = process.argv.slice(2);
fs.mkdirSync(folder, { recursive: true });
for (let seed = 0; seed < 240; seed++) {
  const r = random(seed);
  const { addresses } = world(r, 12);
  const make = packets(r, { addresses });
  const kind = seed % LINK_TYPES.length;
  const some = Array.from({ length: 1 + r.below(6) }, () => make(LINK_TYPES[kind]).subarray(0, 254));
  fs.writeFileSync(
    path.join(folder, `seed-${seed}`),
    Buffer.concat([Buffer.from([kind]), ...some.flatMap((packet) => [Buffer.from([packet.length]), packet])]),
  );
}
