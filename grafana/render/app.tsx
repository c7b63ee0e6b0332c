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
  const columns = [...new Set(list.flatMap((r) => Object.keys(r)))].filter((c) => !org.excludeByName[c]).sort((a, b) => Number(a.startsWith('Value')) - Number(b.startsWith('Value')));
  const frame = toDataFrame({ fields: columns.map((c) => {
    const label = org.renameByName[c] ?? c, over = panel.fieldConfig.overrides.find((o: any) => o.matcher.options === label);
    const number = c.startsWith('Value');
    return { name: label, type: number ? FieldType.number : FieldType.string, values: list.map((r) => r[c] ?? null), config: { ...(number ? config(panel, label) : {}), unit: over ? over.properties[0].value : number ? panel.fieldConfig.defaults.unit : undefined, custom: { filterable: false } } };
  }) });
  return applyFieldOverrides({ data: [frame], fieldConfig: { defaults: {}, overrides: [] }, theme, replaceVariables: (s: string) => s, timeZone: 'utc' } as any)[0];
}
function Body({ panel, board, width, height }: any) {
  const range: any = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: dateTime(board.from), to: dateTime(board.to) } };
  if (panel.type === 'table') {
    const { fields, length } = tableFrame(panel);
    const text = (field: any, i: number) => { const one = field.display(field.values[i]); return [one.prefix, one.text, one.suffix].join(''); };
    return <table style={{ width, fontSize: 13 }}><thead><tr>{fields.map((f: any) => <th key={f.name} style={{ color: theme.colors.text.link, padding: 4 }}>{f.name}</th>)}</tr></thead>
      <tbody>{[...Array(length).keys()].map((i) => <tr key={i}>{fields.map((f: any) => <td key={f.name} style={{ padding: 4 }}>{f.values[i] === null ? '' : text(f, i)}</td>)}</tr>)}</tbody></table>;
  }
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
