/**
 * Where a Windows executable's own libraries are looked for. Node's is the folder of the executable first, so that a
 * winmm.dll beside it in Downloads runs with the rights of whoever starts it. DependentLoadFlags (since Windows 10 1607)
 * says otherwise, before any of our code runs. Source: Microsoft's "PE Format", "The Load Configuration Structure".
 */

/** winbase.h */
const LOAD_LIBRARY_SEARCH_SYSTEM32 = 0x800;
const PE_OFFSET_AT = 0x3c;
const PE32_PLUS = 0x20b;
/** From the start of the PE header: how many sections, the optional header's size, the optional header. */
const SECTIONS_AT = 6;
const OPTIONAL_SIZE_AT = 20;
const OPTIONAL_AT = 24;
/** From the start of a PE32+ optional header. */
const DIRECTORIES_AT = 112;
const LOAD_CONFIGURATION = 10;
const SECTION_BYTES = 40;
/** In IMAGE_LOAD_CONFIG_DIRECTORY64. */
const DEPENDENT_LOAD_FLAGS_AT = 0x4e;

/** Windows itself in System32, and nothing else. Changes `bytes`, before they are signed. */
export function searchSystemOnly(bytes: Buffer): void {
  const at = flagsAt(bytes);
  if (bytes.readUInt16LE(at) !== 0) throw new Error('this Node has DependentLoadFlags of its own');
  bytes.writeUInt16LE(LOAD_LIBRARY_SEARCH_SYSTEM32, at);
}

/** Exported for the test. */
export const dependentLoadFlags = (bytes: Buffer): number => bytes.readUInt16LE(flagsAt(bytes));

function flagsAt(bytes: Buffer): number {
  const header = bytes.readUInt32LE(PE_OFFSET_AT);
  const optional = header + OPTIONAL_AT;
  if (bytes.toString('latin1', header, header + 4) !== 'PE\0\0' || bytes.readUInt16LE(optional) !== PE32_PLUS)
    throw new Error('this is no 64-bit Windows executable');
  const directory = fileOffset(bytes, header, bytes.readUInt32LE(optional + DIRECTORIES_AT + 8 * LOAD_CONFIGURATION));
  // It says itself how long it is; fields were added to it over time.
  if (bytes.readUInt32LE(directory) < DEPENDENT_LOAD_FLAGS_AT + 2)
    throw new Error('its load configuration is too short');
  return directory + DEPENDENT_LOAD_FLAGS_AT;
}

/** Of an address in memory, by the section that holds it. */
function fileOffset(bytes: Buffer, header: number, address: number): number {
  const table = header + OPTIONAL_AT + bytes.readUInt16LE(header + OPTIONAL_SIZE_AT);
  const count = bytes.readUInt16LE(header + SECTIONS_AT);
  for (let at = table; at < table + count * SECTION_BYTES; at += SECTION_BYTES) {
    const [start, size, offset] = [12, 16, 20].map((field) => bytes.readUInt32LE(at + field)) as [
      number,
      number,
      number,
    ];
    if (address >= start && address < start + size) return offset + address - start;
  }
  throw new Error('it has no load configuration');
}
