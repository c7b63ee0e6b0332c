import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, ThemeContext, toDataFrame, FieldType, getDisplayProcessor, dateTime, applyFieldOverrides } from '@grafana/data';
import { GlobalStyles, PanelChrome, TimeSeries, BigValue } from '@grafana/ui';
import 'uplot/dist/uPlot.min.css';
const theme = createTheme({ colors: { mode: 'dark' } });
const W = 1600, CELL = 34;
const name = (legend: string, metric: any) => legend === '__auto' ? (Object.entries(metric).filter(([k]) => k !== '__name__').map(([k, v]) => `${k}=${v}`).join(' ') || metric.__name__ || 'value') : legend.replace(/\{\{(\w+)\}\}/g, (_: any, k: string) => metric[k] ?? '');
function config(panel: any, displayName: string) {
  const d = panel.fieldConfig.defaults;
  return { ...d, displayName, thresholds: { mode: d.thresholds.mode, steps: d.thresholds.steps.map((s: any) => ({ ...s, value: s.value === null ? -Infinity : s.value })) } };
}
function frames(panel: any) {
  const raw = panel.targets.flatMap((t: any) => t.result.filter((r: any) => r.values).map((r: any) => toDataFrame({ refId: t.refId, fields: [
    { name: 'Time', type: FieldType.time, values: r.values.map((v: any) => v[0] * 1000) },
    { name: 'Value', type: FieldType.number, values: r.values.map((v: any) => Number(v[1])), labels: {}, config: config(panel, name(t.legendFormat, r.metric)) } ] })));
  return applyFieldOverrides({ data: raw, fieldConfig: { defaults: {}, overrides: [] }, theme, replaceVariables: (s: string) => s, timeZone: 'utc' } as any);
}
function tableFrame(panel: any) {
  const many = panel.targets.length > 1, org = panel.transformations[1].options, rows: any = {};
  const join = panel.transformations[0].options.byField;
  panel.targets.forEach((t: any) => t.result.forEach((r: any, i: number) => {
    const m = { ...r.metric }; delete m.__name__;
    const key = join ? m[join] : JSON.stringify(m);
    rows[key] = { ...(rows[key] ?? {}), ...m, [many ? `Value #${t.refId}` : 'Value']: Number(r.value[1]) };
  }));
  const list: any[] = Object.values(rows);
  const place = (c: string) => org.indexByName[c] ?? 99;
  const columns = [...new Set(list.flatMap((r) => Object.keys(r)))].filter((c) => !org.excludeByName[c]).sort((a, b) => place(a) - place(b));
  const label = (c: string) => org.renameByName[c] ?? c;
  const sorts = [...(panel.options.sortBy ?? [])].reverse();
  for (const { displayName, desc } of sorts) {
    const c = columns.find((one) => label(one) === displayName);
    if (c) list.sort((a, b) => ((a[c] ?? '') < (b[c] ?? '') ? -1 : (a[c] ?? '') > (b[c] ?? '') ? 1 : 0) * (desc ? -1 : 1));
  }
  const frame = toDataFrame({ fields: columns.map((c) => {
    const over = Object.fromEntries(panel.fieldConfig.overrides.filter((o: any) => o.matcher.options === label(c)).flatMap((o: any) => o.properties.map((p: any) => [p.id, p.value])));
    const number = c.startsWith('Value'), base = number ? config(panel, label(c)) : {};
    const coloured = Boolean(over['custom.cellOptions'] ?? (number && panel.fieldConfig.defaults.custom.cellOptions));
    return { name: label(c), type: number ? FieldType.number : FieldType.string, values: list.map((r) => r[c] ?? null), config: { ...base, unit: over.unit ?? (number ? panel.fieldConfig.defaults.unit : undefined), mappings: over.mappings ?? [], color: coloured ? { mode: 'thresholds' } : undefined, custom: { coloured } } };
  }) });
  return applyFieldOverrides({ data: [frame], fieldConfig: { defaults: {}, overrides: [] }, theme, replaceVariables: (s: string) => s, timeZone: 'utc' } as any)[0];
}
const clock = (ms: number) => new Date(ms).toISOString().slice(11, 19);
const muted = theme.colors.text.secondary;
/* Grafana's state timeline and heatmap live in its server's plugins, not in its components: drawn here. */
function Timeline({ panel, board, width, height }: any) {
  const series = panel.targets.flatMap((t: any) => t.result.map((r: any) => ({ name: name(t.legendFormat, r.metric), values: r.values })));
  const words = panel.fieldConfig.defaults.mappings[0].options, left = 210, row = Math.min(44, (height - 30) / Math.max(1, series.length));
  const x = (ms: number) => left + (ms - board.from) / (board.to - board.from) * (width - left);
  return <svg width={width} height={height} fontSize={12}>{series.map((one: any, i: number) => <g key={i}>
    <text x={0} y={i * row + row / 2 + 4} fill={theme.colors.text.primary}>{one.name}</text>
    {one.values.map(([at, v]: any, j: number) => { const end = one.values[j + 1]?.[0] ?? at + 1, word = words[`${Number(v)}`];
      return <rect key={j} x={x(at * 1000)} y={i * row + 3} width={Math.max(1, x(end * 1000) - x(at * 1000) + 0.5)} height={row - 6} fill={theme.visualization.getColorByName(word?.color ?? 'gray')} />; })}
    {one.values.length > 0 && <text x={left + 8} y={i * row + row / 2 + 4} fill="black">{words[`${Number(one.values[one.values.length - 1][1])}`]?.text}</text>}
  </g>)}{[0, 1, 2, 3].map((n) => <text key={n} x={left + n * (width - left - 50) / 3} y={height - 8} fill={muted}>{clock(board.from + n * (board.to - board.from) / 3)}</text>)}</svg>;
}
function Heat({ panel, board, width, height }: any) {
  const bounds = panel.targets[0].result.map((r: any) => ({ le: Number(r.metric.le === '+Inf' ? Infinity : r.metric.le), at: new Map(r.values.map(([t, v]: any) => [t, Number(v)])) })).sort((a: any, b: any) => a.le - b.le);
  const times = [...new Set<number>(bounds.flatMap((one: any) => [...one.at.keys()]))].sort((a, b) => a - b);
  const cells = bounds.flatMap((one: any, i: number) => times.map((t) => ({ i, t, v: Math.max(0, (one.at.get(t) ?? 0) - (i ? bounds[i - 1].at.get(t) ?? 0 : 0)) })));
  const most = Math.max(1e-9, ...cells.map((c: any) => c.v)), left = 56, row = (height - 24) / Math.max(1, bounds.length), col = (width - left) / Math.max(1, times.length);
  const say = (le: number) => le === Infinity ? 'more' : le < 0.001 ? `${le * 1e6} µs` : le < 1 ? `${le * 1e3} ms` : `${le} s`;
  return <svg width={width} height={height} fontSize={11}>{cells.filter((c: any) => c.v > 0).map((c: any, n: number) => <rect key={n} x={left + times.indexOf(c.t) * col} y={(bounds.length - 1 - c.i) * row} width={col + 0.5} height={row - 1} fill={`rgba(255,120,10,${0.1 + 0.9 * c.v / most})`} />)}
    {bounds.map((one: any, i: number) => i % 2 === 0 && <text key={i} x={0} y={(bounds.length - 1 - i) * row + row / 2 + 4} fill={muted}>{say(one.le)}</text>)}
    {[0, 1, 2].map((n) => <text key={n} x={left + n * (width - left - 50) / 2} y={height - 6} fill={muted}>{clock(board.from + n * (board.to - board.from) / 2)}</text>)}</svg>;
}
function Body({ panel, board, width, height }: any) {
  const range: any = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: dateTime(board.from), to: dateTime(board.to) } };
  if (panel.type === 'table') {
    const { fields, length } = tableFrame(panel);
    const text = (field: any, i: number) => { const one = field.display(field.values[i]); return <span style={field.config.custom.coloured ? { color: one.color, fontWeight: 600 } : {}}>{[one.prefix, one.text, one.suffix].join('')}</span>; };
    return <table style={{ width, fontSize: 13 }}><thead><tr>{fields.map((f: any) => <th key={f.name} style={{ color: theme.colors.text.link, padding: 4 }}>{f.name}</th>)}</tr></thead>
      <tbody>{[...Array(length).keys()].map((i) => <tr key={i}>{fields.map((f: any) => <td key={f.name} style={{ padding: 4 }}>{f.values[i] === null ? '' : text(f, i)}</td>)}</tr>)}</tbody></table>;
  }
  if (panel.type === 'state-timeline') return <Timeline panel={panel} board={board} width={width} height={height} />;
  if (panel.type === 'heatmap') return <Heat panel={panel} board={board} width={width} height={height} />;
  const data = frames(panel);
  if (panel.type === 'stat') {
    const each = width / Math.max(1, data.length);
    return <div style={{ display: 'flex' }}>{data.map((f: any, i: number) => {
      const field = f.fields[1], last = [...field.values].reverse().find((v: number) => Number.isFinite(v));
      const shown = getDisplayProcessor({ field, theme })(last);
      return <BigValue key={i} width={each} height={height} theme={theme} value={{ ...shown, title: data.length > 1 ? field.config.displayName : undefined } as any} colorMode={panel.options.colorMode} graphMode={'none' as any} textMode={panel.options.textMode} />;
    })}</div>;
  }
  return <TimeSeries frames={data} timeRange={range} timeZone="utc" width={width} height={height} legend={{ showLegend: true, displayMode: 'list', placement: 'bottom', calcs: ['lastNotNull'] } as any} structureRev={1} options={{} as any} />;
}
class Guard extends React.Component<any, any> { state = { error: '' }; static getDerivedStateFromError(e: any) { return { error: String(e) }; } render() { return this.state.error ? <pre>{this.state.error}</pre> : this.props.children; } }
function Board({ board }: any) {
  return <div style={{ position: 'relative', width: W, background: theme.colors.background.canvas, minHeight: 200 }}>
    <h2 style={{ padding: '8px 12px' }}>{board.title}</h2>
    {board.panels.map((p: any) => { const g = p.gridPos, w = g.w * W / 24 - 8, h = g.h * CELL - 8;
      const style: any = { position: 'absolute', left: g.x * W / 24 + 4, top: g.y * CELL + 48, width: w, height: h };
      if (p.type === 'row') return <div key={p.id} style={{ ...style, fontSize: 16, padding: 4 }}>{p.title}</div>;
      return <div key={p.id} style={style}><PanelChrome title={p.title} width={w} height={h} theme={theme as any}>{(iw: number, ih: number) => <Guard><Body panel={p} board={board} width={iw} height={ih} /></Guard>}</PanelChrome></div>; })}
  </div>;
}
(window as any).grafanaBootData = { settings: {}, user: {} };
const board = (window as any).BOARD;
createRoot(document.getElementById('root')!).render(<ThemeContext.Provider value={theme}><GlobalStyles /><Board board={board} /></ThemeContext.Provider>);
