/** What is decided about a message of an extension, whatever it holds: it is written by somebody else. */

export interface Pass { token: string; expires_at: string; scopes: string[]; files: string }

/** How long before its end a token is renewed. */
const EARLY_MS = 3 * 60_000;
/** How soon after a token another one is asked for. */
const PAUSE_MS = 5_000;
const HEIGHT_MIN = 60;
const HEIGHT_MAX = 2_000;

/** Milliseconds until a token should be renewed; 0 if it should be now. */
export const renewIn = (expires: string | null, now: number) => {
  const end = expires === null ? Number.NaN : Date.parse(expires);
  return Number.isFinite(end) ? Math.max(0, end - EARLY_MS - now) : 0;
};

export interface Wish { ready?: true; token?: true; renew?: true; height?: number }

/** What an extension wants: to begin, another token, or a height for its panel. Anything else is nothing. */
export function answerTo(data: unknown, state: { now: number; asked: number; expires: string | null; fixed: boolean }): Wish {
  if (typeof data !== "object" || data === null || (data as { flywheel?: unknown }).flywheel !== 1) return {};
  const { kind, pixels } = data as { kind?: unknown; pixels?: unknown };
  const due = renewIn(state.expires, state.now) === 0;
  if (kind === "ready") return due && state.now - state.asked > PAUSE_MS ? { ready: true, renew: true } : { ready: true };
  // One that asks without end gets what there is.
  if (kind === "token") return state.now - state.asked > PAUSE_MS ? { token: true, renew: true } : { token: true };
  if (kind === "height" && !state.fixed && typeof pixels === "number" && Number.isFinite(pixels)) return { height: Math.min(HEIGHT_MAX, Math.max(HEIGHT_MIN, Math.round(pixels))) };
  return {};
}
