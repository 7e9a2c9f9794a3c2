/** The bill of materials of one executable, CycloneDX 1.6 in JSON: the same input gives the same bytes (no time, no chance). */
import { Enums, Models, Serialize, Spec, SPDX } from '@cyclonedx/cyclonedx-library';
import { VERSION } from '../../src/version.ts';
import type { Component } from './inventory.ts';
import type { Product } from './plan.ts';

/** `sha256`: of the executable, hexadecimal. */
export function billOfMaterials({ program, file }: Product, sha256: string, inside: Component[]): string {
  const subject = new Models.Component(Enums.ComponentType.Application, program.name, {
    bomRef: file,
    version: VERSION,
    description: program.description,
    purl: `pkg:generic/${program.name}@${VERSION}?file_name=${file}`,
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm['SHA-256'], sha256]]),
    licenses: licenceOf('MIT'),
  });
  const components = inside.map(componentOf);
  for (const { bomRef } of components) subject.dependencies.add(bomRef);
  const bom = new Models.Bom({
    serialNumber: `urn:uuid:${uuidFrom(sha256)}`,
    metadata: new Models.Metadata({ component: subject }),
    components: new Models.ComponentRepository(components),
  });
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
}

function componentOf({ name, version, licence, sha512, purl, cpe, parts = [] }: Component): Models.Component {
  return new Models.Component(Enums.ComponentType.Library, name, {
    bomRef: purl,
    version,
    purl,
    ...(cpe !== undefined && { cpe }),
    ...(licence !== undefined && { licenses: licenceOf(licence) }),
    ...(sha512 !== undefined && { hashes: new Models.HashDictionary([[Enums.HashAlgorithm['SHA-512'], sha512]]) }),
    components: new Models.ComponentRepository(parts.map(componentOf)),
  });
}

const licenceOf = (licence: string): Models.LicenseRepository =>
  new Models.LicenseRepository([
    SPDX.isSupportedSpdxId(licence) ? new Models.SpdxLicense(licence) : new Models.LicenseExpression(licence),
  ]);

/** A UUID of version 8, whose bits are ours to choose (RFC 9562). */
function uuidFrom(hex: string): string {
  const variant = ((Number.parseInt(hex[16]!, 16) & 0x3) | 0x8).toString(16);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, variant + hex.slice(17, 20)];
  return [...parts, hex.slice(20, 32)].join('-');
}
