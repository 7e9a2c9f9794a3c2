/** What lies beside the executables: bills of materials, licences and sums, for all of them that are in dist/. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bundle } from './bundle.ts';
import { sha256 } from './fresh.ts';
import { type Component, inventory, licenceText } from './inventory.ts';
import { billOfMaterials } from './sbom.ts';
import { ALL_PRODUCTS, dist, root } from './plan.ts';

export function writePapers(bundles: Map<string, Bundle>): void {
  const inside = new Map<string, Component>();
  const sums: [name: string, sum: string][] = [];
  const write = (name: string, text: string) => {
    writeFileSync(join(dist, name), text);
    sums.push([name, sha256(text)]);
  };
  for (const product of ALL_PRODUCTS) {
    const { program, file } = product;
    if (!existsSync(join(dist, file))) continue;
    const components = inventory(product, bundles.get(program.name)!.sources);
    for (const component of components) inside.set(component.purl, component);
    const sum = sha256(readFileSync(join(dist, file)));
    sums.push([file, sum]);
    write(`${file}.cdx.json`, billOfMaterials(product, sum, components));
  }
  write('LICENSES.txt', licences([...inside.values()]));
  // As sha256sum -c reads it.
  writeFileSync(join(dist, 'SHA256SUMS'), sums.map(([name, sum]) => `${sum}  ${name}\n`).join(''));
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
