'use strict';
// seeds.js FOLDER [bare]: small capture files of every kind, for the fuzzer (two bytes before each say how it is cut) or bare.
const fs = require('node:fs');
const path = require('node:path');
const { pcap, pcapng, udp } = require('./files.js');

const [folder, bare] = process.argv.slice(2);
fs.mkdirSync(folder, { recursive: true });
const seeds = [];
for (const big of [false, true]) {
  for (const magic of [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34])
    seeds.push(
      pcap(
        [
          { data: udp(), seconds: 1, fraction: 2 },
          { data: udp({ size: 90 }), original: 200 },
        ],
        { magic, big, snaplen: 80 },
      ),
    );
  seeds.push(
    pcap([{ data: udp() }], { big, version: [2, 2] }),
    pcap([{ data: Buffer.alloc(0) }], { big, version: [2, 3] }),
  );
  const ng = pcapng(big);
  seeds.push(
    Buffer.concat([
      ng.section(),
      ng.interface({ name: 'eth0', description: 'first', snaplen: 100 }),
      ng.interface({ linkType: 101, resolution: 9, offset: -3n }),
      ng.interface({ resolution: 0x94 }),
      ng.enhanced({ data: udp(), time: 1n << 40n, comment: 'x' }),
      ng.simple({ data: udp() }),
      ng.old({ id: 1, data: udp(), time: 7n }),
      ng.block(0x0bad, Buffer.alloc(8)),
      ng.enhanced({ id: 2, data: udp({ size: 61 }), original: 100 }),
      ng.section(),
      ng.interface(),
      ng.enhanced({ data: udp() }),
    ]),
  );
  // Larger than the reader's buffer.
  seeds.push(pcap([{ data: Buffer.alloc(600_000) }, { data: udp() }], { big }));
  seeds.push(
    Buffer.concat([
      ng.section(),
      ng.interface(),
      ng.enhanced({ data: Buffer.alloc(600_000) }),
      ng.block(99, Buffer.alloc(600_000)),
      ng.simple({ data: udp() }),
    ]),
  );
}
seeds.forEach((seed, i) =>
  fs.writeFileSync(path.join(folder, `seed-${i}`), bare ? seed : Buffer.concat([Buffer.from([255, 255]), seed])),
);
