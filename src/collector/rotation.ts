/** When a segment is closed: a pure function. */

export interface RotationLimits {
  /** A segment isn't appended to beyond this; one write (at most 1 MiB) always fits. */
  rotateBytes: number;
  /** Since it was opened. */
  rotateAgeMs: number;
  /** Since it was last appended to. */
  rotateIdleMs: number;
}

export interface SegmentAge {
  bytes: number;
  openedMs: number;
  appendedMs: number;
}

/** Why this segment must be closed before `more` bytes are appended at `nowMs`; undefined when it need not be. */
export function rotationDue(
  s: SegmentAge,
  limits: RotationLimits,
  nowMs: number,
  more: number,
): 'bytes' | 'age' | 'idle' | undefined {
  if (more > 0 && s.bytes + more > limits.rotateBytes) return 'bytes';
  if (nowMs - s.openedMs >= limits.rotateAgeMs) return 'age';
  if (nowMs - s.appendedMs >= limits.rotateIdleMs) return 'idle';
  return undefined;
}
