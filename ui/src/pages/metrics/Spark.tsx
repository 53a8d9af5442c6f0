/** A small line of figures, without axes; drawn by hand, because a page shows dozens of them. */
export function Spark({ values, label, width = 240, height = 44 }: { values: (number | null)[]; label: string; width?: number; height?: number }) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return <div style={{ height }} />;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = (index: number) => 3 + (index / (values.length - 1)) * (width - 6);
  const y = (value: number) => (high === low ? height / 2 : 4 + ((high - value) / (high - low)) * (height - 8));
  const points = values.flatMap((value, index) => (value === null ? [] : [[x(index), y(value)] as const]));
  const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ");
  const [first, last] = [points[0], points.at(-1)];
  return (
    <svg className="metrics-spark" viewBox={`0 0 ${width} ${height}`} height={height} width="100%" preserveAspectRatio="none" role="img" aria-label={label}>
      {first && last && <polygon points={`${first[0]},${height} ${line} ${last[0]},${height}`} />}
      <polyline points={line} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
