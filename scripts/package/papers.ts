/** What lies beside the executables: licences and sums, for all of them that are in dist/. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bundle } from './bundle.ts';
import { sha256 } from './fresh.ts';
import { type Component, inventory, licenceText } from './inventory.ts';
import { ALL_PRODUCTS, dist, root } from './plan.ts';

export function writePapers(bundles: Map<string, Bundle>): void {
  const inside = new Map<string, Component>();
  for (const product of ALL_PRODUCTS) {
    if (!existsSync(join(dist, product.file))) continue;
    for (const component of inventory(product, bundles.get(product.program.name)!.sources))
      inside.set(component.purl, component);
  }
  writeFileSync(join(dist, 'LICENSES.txt'), licences([...inside.values()]));
  writeSums();
}

function licences(components: Component[]): string {
  const line = '='.repeat(80);
  const section = (title: string, text: string) => `${line}\n${title}\n${line}\n${text}\n`;
  const sections = components
    .toSorted((a, b) => (a.purl < b.purl ? -1 : 1))
    .map((component) => section(`${component.name} ${component.version}`, licenceText(component)));
  const ours = section('rcap, node-pcap-native', readFileSync(join(root, 'LICENSE'), 'utf8').trim());
  return [ours, ...sections].join('\n');
}

/** As sha256sum -c reads it. */
function writeSums(): void {
  const files = [...ALL_PRODUCTS.map(({ file }) => file), 'LICENSES.txt'].filter((file) =>
    existsSync(join(dist, file)),
  );
  const lines = files.map((file) => `${sha256(readFileSync(join(dist, file)))}  ${file}\n`);
  writeFileSync(join(dist, 'SHA256SUMS'), lines.join(''));
}
