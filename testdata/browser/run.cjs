// Drives the widget in a real Chromium against a running spoor, as visitors of
// a site would, and reads back over REST what became of it:
//
//	node run.cjs COLLECTOR READS [CASE…]     SPOOR_ADMIN_TOKEN in the environment
//
// The site is served by this program on its own origins. Between it and the
// collector stands a gateway of the runner, which keeps what passes and can
// be out of order. Names below .localhost lead to this machine and count as
// secure. Each case has an app of its own and prints "ok NAME" or "not ok NAME".
'use strict';
const assert = require('node:assert/strict');
const http = require('node:http');
const { chromium } = require('playwright-core');
const cases = require('./cases.cjs');

const [collector, reads, ...only] = process.argv.slice(2);
const admin = process.env.SPOOR_ADMIN_TOKEN;
const agent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';
const waitMs = 8000;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const listen = (server) => new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)));

async function read(path, token) {
  const reply = await fetch(reads + path, { headers: { Authorization: 'Token ' + token } });
  return { status: reply.status, text: await reply.text() };
}

async function change(path, body, method = 'POST') {
  const reply = await fetch(reads + path, { method, headers: { Authorization: 'Token ' + admin }, body: JSON.stringify(body) });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
  return JSON.parse(text);
}

// until waits for something that is not there at once.
async function until(what, look) {
  const end = Date.now() + waitMs;
  let last;
  do {
    last = await look();
    if (last) return last;
    await sleep(30);
  } while (Date.now() < end);
  throw new Error('waited for ' + what);
}

// gateway passes on to the collector, keeps bodies, and fails as it is told.
class Gateway {
  requests = []; // {path, query, body, events, status}
  trouble = null; // 'down', or {status, headers, count}

  constructor() {
    this.server = http.createServer((req, res) => this.pass(req, res));
  }

  pass(req, res) {
    const chunks = [];
    req.on('data', (c) => chunks.push(c));
    req.on('end', () => {
      const { pathname, searchParams } = new URL(req.url, 'http://gateway');
      const body = Buffer.concat(chunks).toString();
      const one = { path: pathname, key: searchParams.get('k'), headers: req.headers, body, events: [], at: Date.now() };
      if (pathname === '/w' && req.method === 'POST') one.events = JSON.parse(body).batch;
      this.requests.push(one);
      const trouble = this.trouble;
      if (trouble === 'down') return res.destroy();
      if (trouble && pathname === '/w') {
        if (--trouble.count === 0) this.trouble = null;
        one.status = trouble.status;
        if (trouble.after) return this.forward(req, body, one, null, () => this.fail(req, res, trouble));
        return this.fail(req, res, trouble);
      }
      this.forward(req, body, one, res);
    });
  }

  fail(req, res, trouble) {
    const cors = { 'Access-Control-Allow-Origin': req.headers.origin || '*', 'Access-Control-Allow-Credentials': 'true', 'Access-Control-Expose-Headers': 'Retry-After' };
    res.writeHead(trouble.status, { ...cors, ...trouble.headers });
    res.end('{}');
  }

  forward(req, body, one, res, done) {
    const to = new URL(req.url, collector);
    const out = http.request(to, { method: req.method, headers: req.headers }, (reply) => {
      if (!res) return reply.resume().on('end', done);
      one.status = reply.statusCode;
      res.writeHead(reply.statusCode, reply.headers);
      reply.pipe(res);
    });
    out.on('error', () => res && res.destroy());
    out.end(body);
  }

  of(app) {
    return this.requests.filter((r) => r.key === app.key && r.path === '/w');
  }

  events(app) {
    return this.of(app).flatMap((r) => r.events);
  }
}

async function main() {
  const gateway = new Gateway();
  const pages = new Map(); // path → {html, headers}
  const site = http.createServer((req, res) => {
    const page = pages.get(new URL(req.url, 'http://site').pathname);
    res.writeHead(page ? 200 : 404, { 'Content-Type': 'text/html; charset=utf-8', ...page?.headers });
    res.end(page?.html ?? '<!doctype html><title>elsewhere</title>');
  });
  const gatewayPort = await listen(gateway.server);
  const sitePort = await listen(site);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--headless=new', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update', '--user-agent=' + agent, '--accept-lang=pl-PL'],
  });

  let count = 0;
  const world = {
    assert, gateway, until, sleep, browser, collector,
    site: `http://www.shop.localhost:${sitePort}`,
    otherSite: `http://blog.other.localhost:${sitePort}`,
    track: `http://track.collector.localhost:${gatewayPort}`, // foreign to the site
    ownTrack: `http://track.shop.localhost:${gatewayPort}`, // a host of the site

    // app makes an app with settings, and says how to read it.
    async app(settings = {}) {
      const name = 'case' + ++count + '-' + process.pid;
      const made = await change('/api/admin/apps/', { name, timezone: 'UTC', settings: { ...(settings.mode === 'exempt' ? { hits_days: 700 } : {}), ...settings } });
      const { secret } = await change(`/api/admin/apps/${name}/tokens/`, { name: 'reader', role: 'read' });
      const app = { name, key: made.keys[0].key, token: secret };
      app.hits = async () => {
        const { status, text } = await read('/api/export/hits.ndjson', secret);
        assert.equal(status, 200, text);
        return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
      };
      app.user = async (query) => {
        const { status, text } = await read('/api/public/users/search/?' + query, secret);
        return status === 200 ? JSON.parse(text) : null;
      };
      app.until = (what, holds) => until(what, async () => {
        const hits = await app.hits();
        return holds(hits) ? hits : null;
      });
      return app;
    },

    // page makes a page of the site and gives its path.
    page(app, { before = '', body = '', headers = {}, track = world.track, snippet } = {}) {
      const path = '/page' + ++count;
      snippet ??= `<script async src="${track}/widget.js" data-key="${app.key}"></script>`;
      pages.set(path, { html: `<!doctype html><html><head><title>Shoes</title>${before}${snippet}</head><body>${body}</body></html>`, headers });
      return path;
    },

    // visitor is a browser of its own: cookies, storage, tabs.
    async visitor(options = {}) {
      const context = await browser.newContext({ timezoneId: 'Europe/Warsaw', viewport: { width: 1280, height: 800 }, ...options });
      const errors = [];
      context.on('weberror', (e) => errors.push(String(e.error())));
      const v = {
        context, errors,
        async open(path, origin = world.site) {
          const tab = await context.newPage();
          await tab.goto(origin + path);
          return tab;
        },
        cookies: async () => Object.fromEntries((await context.cookies()).map((c) => [c.name, c])),
        storage: (tab) => tab.evaluate(() => Object.keys(localStorage)),
      };
      return v;
    },
  };

  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    if (only.length && !only.includes(name)) continue;
    const began = Date.now();
    gateway.requests = [];
    gateway.trouble = null;
    const contexts = browser.contexts().length;
    try {
      await run(world);
      console.log(`ok ${name} ${Date.now() - began}`);
    } catch (err) {
      failed++;
      console.log(`not ok ${name}: ${String(err.stack).replace(/\n/g, '\n  ')}`);
    }
    for (const context of browser.contexts().slice(contexts)) await context.close();
  }
  await browser.close();
  gateway.server.close();
  site.close();
  process.exit(failed ? 1 : 0);
}

main().catch((err) => {
  console.log('not ok runner: ' + err.stack);
  process.exit(1);
});
