/** Sites as somebody types them: one a line or between commas, with what browsers show behind the host left out. */
export const sitesOf = (text: string): string[] => [...new Set(text.split(/[\s,;，；]+/).filter(Boolean).map((site) => {
  const found = /^([a-z]+:\/\/[^/?#]+)/i.exec(site);
  return found?.[1]?.toLowerCase() ?? site;
}))];
