// Takes the README's picture of the dashboard: a demo with two months of a shop
// that does not exist, light theme, 1280 pixels wide.
//
//	make build && node testdata/browser/overview.cjs bin/spoor query/dashboard/overview.png
'use strict';
const { spawn } = require('node:child_process');
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { chromium } = require('playwright-core');
const UPNG = require('upng-js');

const [program, picture] = process.argv.slice(2);
const days = 63;
const weekDays = 7; // as late as a hit may be
const dayMs = 86_400_000;
const batchMax = 500;
const coloursMax = 256; // of the picture, for its size

// random gives the same shop each time.
let seed = 7;
const random = () => {
  seed = (seed + 0x6d2b79f5) | 0; // mulberry32
  let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
const pick = (weighted) => {
  let at = random() * weighted.reduce((sum, [, weight]) => sum + weight, 0);
  return weighted.find(([, weight]) => (at -= weight) <= 0)?.[0] ?? weighted[0][0];
};

const agents = [
  ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36', 34],
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1', 27],
  ['Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36', 20],
  ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15', 11],
  ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 8],
  ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0', 6],
];
const places = [['203.0.113.7', 46], ['203.0.113.200', 24], ['2001:db8::7', 14], ['192.0.2.7', 9], ['198.51.100.7', 7]];
const sources = [
  ['', 38], ['https://www.google.com/', 30], ['https://duckduckgo.com/', 6], ['https://news.example/review', 8], ['https://www.facebook.com/', 7],
  ['?utm_source=newsletter&utm_medium=email&utm_campaign=autumn', 9], ['?utm_source=google&utm_medium=cpc&utm_campaign=shoes', 7],
];
const paths = [['/', 30], ['/shoes', 24], ['/shoes/red', 17], ['/shoes/trail', 13], ['/sale', 14], ['/boots', 10], ['/blog/how-to-choose', 8], ['/cart', 9], ['/delivery', 5], ['/contact', 3]];
const hours = [1, 1, 0.5, 0.5, 0.5, 1, 2, 4, 6, 7, 8, 8, 8, 7, 7, 7, 8, 9, 10, 11, 11, 9, 6, 3].map((weight, hour) => [hour, weight]);
const weekdays = [0.78, 1, 1.04, 1.08, 1.02, 0.96, 0.82]; // from Sunday

// visit is what one visitor does: some pages, sometimes an order.
function visit(start, key, hits) {
  const [agent, ip, source] = [pick(agents), pick(places), pick(sources)];
  const common = { key, ip, user_agent: agent, language: ip.startsWith('203.0.113.7') ? 'pl-PL' : 'en-GB' };
  let at = start;
  const pages = random() < 0.42 ? 1 : 2 + Math.floor(random() * 5);
  for (let i = 0; i < pages; i++) {
    const campaign = i === 0 && source.startsWith('?');
    const url = 'https://shop.example' + pick(paths) + (campaign ? source : '');
    const referrer = i > 0 ? common.referrer : source.startsWith('http') ? source : undefined;
    hits.push({ ...common, time: at, url, referrer });
    common.referrer = url;
    at += 8_000 + random() * 90_000;
  }
  const event = (name, chance) => random() < chance && hits.push({ ...common, time: (at += 4_000), type: 'event', name, url: 'https://shop.example/cart' });
  if (pages > 2 && event('add to cart', 0.4) && event('checkout', 0.55)) event('order', 0.7);
  if (pages > 1) event('newsletter signup', 0.05);
}

// hitsUntil are all hits of the shop, in order of time.
function hitsUntil(now) {
  const hits = [];
  for (let back = days - 1; back >= 0; back--) {
    const day = Math.floor(now / dayMs) * dayMs - back * dayMs;
    const visits = 240 * weekdays[new Date(day).getUTCDay()] * (1 + (days - back) / 120) * (0.92 + 0.16 * random());
    for (let i = 0; i < visits; i++) {
      const start = day + pick(hours) * 3_600_000 + Math.floor(random() * 3_600_000);
      const visitor = Math.floor(random() ** 1.5 * 12_000);
      if (start < now - 600_000) visit(start, 'shop' + String(visitor).padStart(8, '0'), hits);
    }
  }
  for (let i = 0; i < 14; i++) visit(now - 100_000 - random() * 100_000, 'shopnow0' + String(i).padStart(4, '0'), hits);
  return hits.filter((h) => h.time < now).sort((a, b) => a.time - b.time);
}

async function send(base, path, method, headers, body) {
  const reply = await fetch(base + path, { method, headers, body: JSON.stringify(body) });
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  return reply.json();
}

// serve runs the program with its clock at an instant, while use does something.
async function serve(data, now, use) {
  const server = spawn(program, ['serve', '--demo', '--data', data, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--clock', new Date(now).toISOString()], { env: { ...process.env, SPOOR_ADMIN_TOKEN: 'overview-of-a-demo' }, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise((done) => server.on('exit', done));
  try {
    let log = '';
    const [collector, reads] = await new Promise((done, fail) => {
      ended.then(() => fail(new Error('the server ended: ' + log)));
      server.stderr.on('data', (text) => {
        log += text;
        const m = /msg=serving collector=(\S+) read_side=(\S+)/.exec(log);
        if (m) done(['http://' + m[1], 'http://' + m[2]]);
      });
    });
    await use(collector, reads);
  } finally {
    server.kill();
    await ended;
  }
}

async function fill(collector, hits) {
  for (let i = 0; i < hits.length; i += batchMax) {
    const batch = hits.slice(i, i + batchMax).map((h) => ({ ...h, time: new Date(h.time).toISOString() }));
    const { results } = await send(collector, '/hit', 'POST', { 'X-Write-Key': 'demo' }, { batch });
    const refused = results.find((r) => r.status !== 'stored');
    if (refused) throw new Error('a hit was not stored: ' + JSON.stringify(refused));
  }
}

async function take(reads) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--headless=new', '--hide-scrollbars', '--disable-lcd-text'] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1545 }, colorScheme: 'light', reducedMotion: 'reduce' });
  await page.goto(reads);
  await page.getByLabel('Token').fill('demo');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('.land.s5').waitFor();
  await page.waitForFunction(() => !document.querySelector('.skeleton'));
  const taken = UPNG.decode(await page.screenshot());
  writeFileSync(picture, Buffer.from(UPNG.encode(UPNG.toRGBA8(taken), taken.width, taken.height, coloursMax)));
  await browser.close();
}

async function main() {
  const data = mkdtempSync(join(tmpdir(), 'spoor-overview-'));
  const end = Date.UTC(2026, 10, 20, 21, 40); // late, so that the last day is nearly a whole one
  const hits = hitsUntil(end);
  try {
    for (let from = end - days * dayMs; from < end; from += weekDays * dayMs) {
      const until = from + weekDays * dayMs;
      await serve(data, until, async (collector, reads) => {
        if (hits[0].time >= from && hits[0].time < until) {
          await send(reads, '/api/admin/apps/demo/', 'PATCH', { Authorization: 'Token overview-of-a-demo' }, { settings: { mode: 'exempt', hits_days: 700, goals: 'Order=event:order,Newsletter=event:newsletter signup' } });
        }
        await fill(collector, hits.filter((h) => h.time >= from && h.time < until));
        if (until >= end) await take(reads);
      });
    }
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

main().catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
