/** How many deliveries stand where. */

export interface Standing { pending: number; delivered: number; dead: number; discarded: number }
export interface Counts extends Standing { policies: (Standing & { policy: string })[] }

/** A policy with deliveries that were given up; one that is not declared any more cannot try them again. */
export interface GivenUp { policy: string; dead: number; declared: boolean }

/** The policies whose deliveries were given up, most first; all count as declared until it is known which are. */
export function givenUp(counts: Counts, declared: string[] | undefined): GivenUp[] {
  const some = counts.policies.filter((one) => one.dead > 0);
  return some.map(({ policy, dead }) => ({ policy, dead, declared: declared?.includes(policy) ?? true })).sort((a, b) => b.dead - a.dead || a.policy.localeCompare(b.policy));
}
