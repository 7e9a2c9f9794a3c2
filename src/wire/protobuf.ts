// protobufjs' runtime as the generated code in messages.js uses it, with 64-bit fields decided: uint64 (counters, sequences)
// is a number, exact up to 2^53; fixed64 (nanoseconds since 1970, beyond 2^53) is a bigint. Never a Long object, whether
// the package `long` is there or not. Only control messages pass here; packets have their own loop.
import protobuf from 'protobufjs/minimal.js';

(protobuf.util as { Long: unknown }).Long = null;
protobuf.configure();

const { Reader, Writer } = protobuf;
const half = 0x100000000n;

(Reader.prototype as unknown as { fixed64(): bigint }).fixed64 = function (this: protobuf.Reader): bigint {
  const low = this.fixed32();
  return BigInt(this.fixed32()) * half + BigInt(low);
};
(Writer.prototype as unknown as { fixed64(value: bigint | number): protobuf.Writer }).fixed64 = function (
  this: protobuf.Writer,
  value: bigint | number,
): protobuf.Writer {
  const whole = BigInt.asUintN(64, BigInt(value));
  return this.fixed32(Number(whole % half)).fixed32(Number(whole / half));
};

export default protobuf;
