// Prefixes with what there is to know of them, from the four lists of the route explorer. Pure.

export const FILTERS = {
  all: "All",
  inconsistent: "Inconsistent within a cluster",
  lonely: "Without an alternative source",
  quarantined: "Quarantined",
};

/** Rows {cidr, sites, heard, marks} of one of FILTERS. A mark is {kind: "bad" or "warn", word, words}. */
export function marked({ routes, quarantine, inconsistent, lonely }, filter) {
  const marks = new Map();
  const add = (cidr, mark) => marks.set(cidr, [...(marks.get(cidr) ?? []), mark]);
  for (const one of inconsistent.inconsistencies) {
    const words = `cluster ${one.cluster} of ${one.site_id}: heard by ${one.heard_by.join(", ")}, missing at ${one.missing_at.join(", ")}`;
    add(one.cidr, { kind: "bad", word: "inconsistent", words });
  }
  for (const one of lonely.lonely) {
    const covered = one.covered_by?.length ? `a shorter prefix around it is known at ${one.covered_by.join(", ")}` : "nobody covers it otherwise";
    add(one.cidr, { kind: "warn", word: "no alternative", words: `only ${one.site_id}; ${covered}` });
  }
  for (const one of quarantine.quarantined) {
    add(one.cidr, { kind: "bad", word: one.refusal, words: `${one.source}: ${one.sentence}` });
  }
  const known = new Map(routes.routes.map((route) => [route.cidr, route]));
  const plain = (cidr, sites, sources) => ({ cidr, sites, heard: sources.map((source) => ({ source })) });
  const listed = {
    all: () => routes.routes,
    quarantined: () => quarantine.quarantined.map((one) => known.get(one.cidr) ?? plain(one.cidr, [], [one.source])),
    inconsistent: () => inconsistent.inconsistencies.map((one) => known.get(one.cidr) ?? plain(one.cidr, [one.site_id], one.heard_by)),
    lonely: () => lonely.lonely.map((one) => known.get(one.cidr) ?? plain(one.cidr, [one.site_id], one.sources)),
  }[filter]();
  const rows = new Map(listed.map((row) => [row.cidr, row]));
  return [...rows.values()].map((row) => ({ ...row, marks: marks.get(row.cidr) ?? [] }));
}
