// Uses the dashboard in a real Chromium against a running spoor:
//
//	node dashboard.cjs COLLECTOR READS [CASE…]     SPOOR_ADMIN_TOKEN in the environment
//
// SPOOR_DASHBOARD is the address of the dashboard, where it is not that of READS:
// of another node of a cluster. Each case has an app of its own and prints "ok NAME" or "not ok NAME". In all
// of them the page may write no error to the console, break no content policy
// and ask no other host. SPOOR_SCREENSHOTS names a folder for pictures of every
// page in both themes and on a phone.
'use strict';
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { chromium } = require('playwright-core');

const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [collector, reads, ...only] = process.argv.slice(2);
const admin = process.env.SPOOR_ADMIN_TOKEN;
const shown = process.env.SPOOR_DASHBOARD ?? reads;
const shiftMax = 0.05;
const waitMs = 15_000; // figures are read again every ten seconds

const phone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1';
const desktop = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
const warsaw = '203.0.113.7';
const kolkata = '198.51.100.7';

async function change(path, body) {
  const reply = await fetch(reads + path, { method: 'POST', headers: { Authorization: 'Token ' + admin }, body: JSON.stringify(body) });
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${text}`);
  return JSON.parse(text);
}

let browser;
let count = 0;

// App is an app with tokens and some visitors.
class App {
  static async make(settings = {}) {
    const app = new App();
    app.name = `dash${++count}-${process.pid}`;
    const made = await change('/api/admin/apps/', { name: app.name, timezone: 'Europe/Warsaw', settings: { trust_sender: true, mode: 'exempt', hits_days: 700, ...settings } });
    app.key = made.keys[0].key;
    for (const role of ['read', 'admin']) app[role] = (await change(`/api/admin/apps/${app.name}/tokens/`, { name: role, role })).secret;
    return app;
  }

  async send(...hits) {
    const request = { method: 'POST', headers: { 'X-Write-Key': this.key }, body: JSON.stringify({ batch: hits.map((h) => ({ ip: warsaw, user_agent: desktop, ...h })) }) };
    let reply;
    await until('the key to be known', async () => { // a collector of a cluster hears of it
      reply = await fetch(collector + '/hit', request);
      return reply.status !== 401 || 401;
    });
    const { results } = await reply.json();
    assert.deepEqual(results.filter((r) => !['stored', 'accepted'].includes(r.status)), [], 'hits that were not stored');
  }

  // visitors come today, each with two pages.
  async visitors(n, more = {}) {
    const hits = [];
    for (let i = 0; i < n; i++) {
      for (const [at, path] of ['/', '/pricing'].entries()) hits.push({ time: new Date(Date.now() - 2000 + 1000 * at).toISOString(), key: `v${this.name.slice(-5)}${i}`, url: 'https://shop.example' + path, title: 'Shoes', user_agent: i % 3 ? desktop : phone, ip: i % 4 ? warsaw : kolkata, ...more });
    }
    await this.send(...hits);
  }

  token(path) {
    return fetch(reads + path, { headers: { Authorization: 'Token ' + this.admin } });
  }
}

// open starts a browser of its own at the dashboard. Its troubles are what no
// page may do.
async function open(options = {}, place = shown + '/') {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
  await context.addInitScript(() => {
    globalThis.shift = 0;
    new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) globalThis.shift += e.value; }).observe({ type: 'layout-shift', buffered: true });
    addEventListener('securitypolicyviolation', (e) => console.error(`content policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(waitMs);
  page.troubles = [];
  page.expected = []; // troubles that a case makes itself
  page.on('pageerror', (e) => page.troubles.push(String(e.stack)));
  page.on('console', (m) => {
    const at = m.location().url ?? '';
    if (!['error', 'warning'].includes(m.type()) || /api\/session\/|\/login$/.test(at) && m.text().includes('401')) return; // how one learns that there is no session
    page.troubles.push(`console: ${m.text()} ${at}`);
  });
  page.on('request', (r) => { if (!r.url().startsWith(new URL(place).origin + '/')) page.troubles.push('asked elsewhere: ' + r.url()); });
  await page.goto(place);
  page.calm = () => assert.deepEqual(page.troubles.filter((t) => !page.expected.some((e) => t.includes(e))), []);
  return page;
}

async function logIn(page, token) {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Log out' }).waitFor();
}

const figure = (page, label) => page.locator('.tile', { hasText: label }).locator('.value');
const goTo = (page, name) => page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name }).click();

// settled waits until no skeleton is left, and nothing more is asked.
async function settled(page) {
  await page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('.skeleton'));
}

// until waits for what a function of the page's state gives.
async function until(what, look) {
  const end = Date.now() + waitMs;
  let last;
  for (;;) {
    last = await look();
    if (last === true) return;
    if (Date.now() > end) throw new Error(`waited for ${what}; it is ${last}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
const shows = (locator, want) => until(`"${want}"`, async () => {
  const text = (await locator.allInnerTexts()).join('|').trim();
  return text === want || text;
});

// full is an app with something on every page, and the fragments of them.
async function full() {
  const app = await App.make({ goals: 'Signup=event:signup' });
  await app.visitors(9);
  await app.send(
    { key: 'ada0ada0ada0', user_id: 'u-17', type: 'identify', attributes: { email: 'ada@shop.example', first_name: 'Ada', last_name: 'Lovelace', plan: 'pro' } },
    { key: 'ada0ada0ada0', user_id: 'u-17', type: 'event', name: 'signup', url: 'https://shop.example/signup' },
  );
  const [ada] = await (await app.token('/api/public/users/search/?many=true&user_id=u-17')).json();
  const made = await fetch(reads + '/api/public/segments/', { method: 'POST', headers: { Authorization: 'Token ' + app.admin }, body: JSON.stringify({ name: 'Pros', filter: { all: [{ attribute: 'plan', is: 'pro' }] } }) });
  const segment = await made.json();
  app.pages = {
    overview: '#/', hours: '#/?range=1', year: '#/?range=365', filtered: '#/?filter=country%3D%3DPL', live: '#/live', people: '#/people', found: '#/people?q=u-17', nobody: '#/people?q=nobody', profile: '#/people/' + ada.id,
    segments: '#/segments', segment: '#/segments/' + segment.id, 'new segment': '#/segments/new', journeys: '#/journeys?range=7&step=path%3A%2F&step=path%3A%2Fpricing', data: '#/data', health: '#/health', missing: '#/nowhere',
  };
  return app;
}

const cases = {
  async 'a wrong token, the right one, and out'() {
    const app = await App.make();
    const page = await open();
    await page.getByLabel('Token').fill('no such token');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').filter({ hasText: 'This token is not known' }).waitFor();
    assert.equal(await page.getByLabel('Token').getAttribute('aria-invalid'), 'true');
    await logIn(page, app.read);
    assert.equal(await page.getByText('Health').count(), 0, 'a token that reads is shown what only admins see');
    const [cookie] = await page.context().cookies();
    assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict', 'the cookie can be read by scripts or other sites');
    await page.reload();
    const out = page.getByRole('button', { name: 'Log out', exact: true });
    await page.route('**/logout', (r) => r.abort());
    page.expected.push('ERR_FAILED');
    await out.click();
    await page.getByRole('alert').filter({ hasText: 'You are still logged in. The server cannot be reached.' }).waitFor();
    await page.getByRole('heading', { name: 'Overview' }).waitFor();
    await page.unroute('**/logout');
    await page.getByRole('button', { name: 'Log out again' }).click();
    await page.getByLabel('Token').waitFor();
    await page.reload();
    await page.getByLabel('Token').waitFor();
    page.calm();
  },

  async 'a hit arrives live'() {
    const app = await App.make();
    const page = await open();
    await logIn(page, app.read);
    await goTo(page, 'Live');
    await page.getByText('Waiting for hits').waitFor();
    const rows = page.locator('.hits tbody tr');
    await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/shoes', title: 'Shoes' });
    await rows.filter({ hasText: '/shoes' }).waitFor();
    await app.send({ key: 'abcabcabcabc', type: 'event', name: '<img src=x onerror=alert(1)>', url: 'https://shop.example/"><b>' });
    await until('the newest on top', async () => (await rows.count()) === 2 && (await rows.first().innerText()).includes('<img src=x onerror=alert(1)>'));
    assert.deepEqual(await page.locator('.hits img, .hits .where b').count(), 0, 'what a hit says became markup');
    await page.getByText('2 hits in the last minute').waitFor();

    await page.getByRole('button', { name: 'Pause' }).click();
    await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/later' });
    await page.getByRole('button', { name: 'Go on (1 new)' }).click();
    await rows.filter({ hasText: '/later' }).waitFor();
    for (const link of await page.locator('.hits .where a').all()) {
      assert.match(await link.getAttribute('href'), /^https:/);
      assert.equal(await link.getAttribute('rel'), 'noreferrer noopener');
    }
    await rows.first().locator('.who a').click();
    await page.getByRole('heading', { name: 'Anonymous visitor' }).waitFor();
    await page.locator('.timeline').getByText('/later').waitFor();
    page.calm();
  },

  async 'many hidden live tabs leave room for another'() {
    const app = await App.make();
    const first = await open();
    await logIn(first, app.read);
    const hide = (page, hidden) => page.evaluate((is) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => is });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    const tabs = [];
    for (let i = 0; i < 6; i++) { // as many as Chromium has connections to one host
      const tab = await first.context().newPage();
      await tab.goto(reads + '/#/live');
      await tab.getByText('Waiting for hits').waitFor();
      await hide(tab, true);
      tabs.push(tab);
    }
    await goTo(first, 'Data');
    await first.getByText('How long it is kept').waitFor();
    await hide(tabs[0], false);
    await tabs[0].getByText('Waiting for hits').waitFor();
    await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/shoes' });
    await tabs[0].locator('.hits tbody tr').filter({ hasText: '/shoes' }).waitFor();
    await tabs[0].getByText('While this tab was hidden').waitFor();
    assert.equal(await tabs[1].locator('.hits').count(), 0, 'a hidden tab has a stream');
    first.calm();
  },

  async 'a stream that is cut is tried again'() {
    const app = await App.make();
    const page = await open();
    await logIn(page, app.read);
    await page.route('**/api/live/', (r) => r.abort());
    page.expected.push('ERR_FAILED');
    await goTo(page, 'Live');
    await page.getByText('The stream is cut.').waitFor();
    await page.unroute('**/api/live/');
    await page.getByRole('button', { name: 'Try now' }).click();
    await page.getByText('Waiting for hits').waitFor();
    page.calm();
  },

  async 'figures move while one looks'() {
    const app = await App.make();
    const page = await open();
    await logIn(page, app.read);
    await page.getByText('No hits in these days yet').waitFor();
    await app.visitors(3);
    await shows(figure(page, 'Visitors'), '3');
    await shows(figure(page, 'Pageviews'), '6');
    await shows(figure(page, 'Active now'), '3');
    await shows(page.locator('.top-table').first().locator('tbody td.n:nth-child(2)'), '3|3');
    await page.getByRole('button', { name: 'Pageviews' }).click();
    await page.getByText('Show as a table').click();
    await shows(page.locator('.as-table tbody tr').last().locator('td').first(), '6');
    page.calm();
  },

  async 'a click on a row filters'() {
    const app = await App.make();
    await app.visitors(4);
    await app.send({ key: 'kkkkkkkkkkkk', url: 'https://shop.example/only', user_agent: phone, ip: kolkata });
    const page = await open();
    await logIn(page, app.read);
    await page.getByRole('button', { name: '/only', exact: true }).click();
    await shows(figure(page, 'Visitors'), '1');
    assert.match(page.url(), /filter=path/);
    await page.getByRole('button', { name: 'India', exact: true }).click();
    await shows(page.locator('.chips b'), '/only|India');
    await page.getByRole('button', { name: 'Remove: Page /only' }).click();
    await shows(figure(page, 'Visitors'), '2');
    await page.goBack();
    await shows(figure(page, 'Visitors'), '1');
    await page.getByText('Clear all').click();
    await shows(figure(page, 'Visitors'), '5');
    page.calm();
  },

  async 'a click asks for exactly that text'() {
    const app = await App.make();
    await app.visitors(2);
    await app.send(
      { key: 'kkkkkkkkkkkk', type: 'event', name: 'a;country==XX', url: 'https://shop.example/' },
      { key: 'kkkkkkkkkkkk', url: 'https://shop.example/star*' },
      { key: 'llllllllllll', url: 'https://shop.example/starry' },
      { key: 'mmmmmmmmmmmm', url: 'https://shop.example/star' },
    );
    const page = await open();
    await logIn(page, app.read);
    for (const text of ['/star*', 'a;country==XX']) {
      await page.getByRole('button', { name: text, exact: true }).click();
      await shows(page.locator('.chips b'), text);
      await shows(figure(page, 'Visitors'), '1');
      await page.getByRole('button', { name: /^Remove: / }).click();
      await shows(figure(page, 'Visitors'), '5');
    }
    await page.goto(reads + '/#/?filter=path%3D%3D%2Fstar*');
    await shows(page.locator('.chips span'), 'Page begins with /star');
    await shows(figure(page, 'Visitors'), '3');
    page.calm();
  },

  async 'dates that cannot be shown'() {
    const app = await App.make();
    await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/', time: new Date(Date.now() - 3 * 86_400_000).toISOString() });
    const page = await open();
    await logIn(page, app.read);
    await page.goto(reads + '/#/?range=1');
    await page.getByText('No visits in these days').waitFor();
    await page.getByText('The newest hits are of').waitFor();
    await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/', time: new Date(Date.now() - 86_400_000).toISOString() });
    await app.visitors(2);
    const change = page.locator('.tile', { hasText: 'Visitors' }).locator('.change');
    await until('a change that is not judged yet', async () => /^\+100% so far/.test(await change.innerText()) && (await change.getAttribute('class')) === 'change' || change.innerText());
    for (const [dates, says] of [['from=2026-02-30&to=2026-03-01', '2026-02-30 is no day.'], ['from=2020-01-01&to=2026-01-01', 'More than 1,100 days'], ['from=2026-03-01', 'wants both'], ['from=2026-03-01&to=2026-02-01', 'after the last']]) {
      await page.goto(reads + '/#/?' + dates);
      await page.getByText(says).waitFor();
      await shows(page.locator('.segmented .on'), '30 days');
    }
    await page.goto(reads + '/#/?from=2024-06-01&to=2024-06-30');
    await shows(page.locator('.days'), '1 Jun 2024 – 30 Jun 2024');
    await page.getByRole('link', { name: 'Look at the last 30 days' }).click();
    await shows(page.locator('.segmented .on'), '30 days');
    await page.goto(reads + '/#/people?q=%20%20');
    await page.getByText('Search by an identifier').waitFor();
    page.calm();
  },

  async 'a profile and its timeline'() {
    const app = await App.make();
    const hits = Array.from({ length: 130 }, (_, i) => ({ key: 'ada0ada0ada0', url: `https://shop.example/page/${i}`, time: new Date(Date.now() - (131 - i) * 1000).toISOString() }));
    await app.send(...hits);
    await app.send({ key: 'ada0ada0ada0', user_id: 'u-17', type: 'identify', attributes: { email: 'ada@shop.example', first_name: 'Ada', last_name: 'Lovelace', plan: 'pro' } });
    const page = await open();
    await logIn(page, app.read);
    await goTo(page, 'People');
    await page.getByLabel('Find a person').fill('nobody@shop.example');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByText('Nobody is known by that').waitFor();
    await page.getByLabel('Find a person').fill('ada@shop.example');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Ada Lovelace' }).click();
    await page.getByRole('heading', { name: 'Ada Lovelace' }).waitFor();
    for (const text of ['u-17', 'pro', 'ada@shop.example', 'Kept because']) await page.locator('.facts').getByText(text).first().waitFor();
    const moments = page.locator('.timeline li');
    await until('one page of moments', async () => (await moments.count()) === 100 || moments.count());
    assert.match(await moments.first().innerText(), /identify/);
    await page.getByRole('button', { name: 'Load more' }).click();
    await until('all moments', async () => (await moments.count()) === 131 || moments.count());
    assert.match(await moments.last().innerText(), /page\/0$/m);
    await page.goto(reads + '/#/people/12345');
    await page.getByText('There is no such person').waitFor();
    page.expected.push('404');
    page.calm();
  },

  async 'a segment is built, followed and deleted'() {
    const app = await App.make();
    await app.visitors(3, { ip: kolkata });
    await app.visitors(2, { ip: kolkata, key: 'twicetwice01' });
    await app.send({ key: 'ppppppppppp1', url: 'https://shop.example/pricing', ip: warsaw });
    const page = await open();
    await logIn(page, app.admin);
    await goTo(page, 'Segments');
    await page.getByText('No segments yet').waitFor();
    await page.getByRole('link', { name: 'New segment' }).first().click();
    const size = page.locator('.size .value');
    await page.getByLabel('Name', { exact: true }).fill('From India');
    await page.getByLabel('Attribute of condition 1').fill('country');
    await page.getByLabel('Value of condition 1').selectOption({ label: 'Iceland' });
    await shows(size, '0');
    await page.getByText('Nobody has this.').waitFor();
    await page.getByLabel('Value of condition 1').selectOption({ label: 'India' });
    await shows(size, '4');
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent);
    const add = page.getByRole('button', { name: 'Add a condition' });
    await add.click();
    await until('the focus on the new condition', async () => (await focused()) === 'Yes or no of condition 2' || focused());
    await page.getByLabel('Attribute of condition 2').fill('System');
    await page.getByRole('button', { name: 'Use os_type' }).click();
    assert.equal(await page.getByLabel('Attribute of condition 2').inputValue(), 'os_type');
    await page.getByRole('button', { name: 'Remove condition 2' }).click();
    await until('the focus on the neighbour', async () => (await focused()) === 'Yes or no of condition 1' || focused());
    await add.click();
    await page.getByLabel('Kind of condition 2').selectOption('Visited page');
    await page.getByLabel('/pricing or /blog* of condition 2').fill('/pricing');
    await page.getByLabel('Times of condition 2').fill('2');
    await shows(size, '1');
    await page.getByLabel('Yes or no of condition 2').selectOption('Who not');
    await shows(size, '3');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { name: 'From India' }).waitFor();
    await until('three members', async () => (await page.locator('.people tbody tr').count()) === 3);
    await goTo(page, 'Segments');
    await shows(page.locator('tbody tr td.n'), '3');
    await page.getByRole('link', { name: 'From India' }).click();
    await page.getByLabel('People must meet').selectOption('any condition');
    await shows(size, '5');
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'Keep' }).click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByText('No segments yet').waitFor();
    page.calm();
  },

  async 'a funnel and the cohorts'() {
    const app = await App.make();
    await app.visitors(4);
    await app.send({ key: `v${app.name.slice(-5)}1`, type: 'event', name: 'signup', url: 'https://shop.example/signup' });
    const page = await open();
    await logIn(page, app.read);
    await goTo(page, 'Journeys');
    await page.getByLabel('Text of step 2').fill('signup');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await shows(page.locator('.funnel-steps tbody td:nth-child(2)'), '4|1');
    await shows(page.locator('.funnel-steps tbody td:nth-child(3)'), '100%|25%');
    await shows(page.locator('.heat tbody tr').last().locator('td'), '4|100%');
    page.calm();
  },

  async 'data and health'() {
    const app = await full();
    const page = await open();
    await logIn(page, app.admin);
    await goTo(page, 'Data');
    await shows(page.locator('tfoot th'), '1 day');
    await page.getByText('Idle anonymous profiles').first().waitFor();
    await goTo(page, 'Health');
    await fetch(collector + '/hit', { method: 'POST', body: '{"write_key":"none","url":"https://shop.example/"}' });
    await page.getByRole('rowheader', { name: 'unknown_key' }).or(page.locator('tbody th', { hasText: 'key' })).first().waitFor();
    await page.locator('.tile', { hasText: 'Disk free' }).getByText(/[kMGT]B/).first().waitFor();
    page.calm();
  },

  async 'a shared overview shows nothing else'() {
    const app = await full();
    const { path } = await change(`/api/admin/apps/${app.name}/share/`, {});
    const page = await open({}, reads + path);
    await shows(figure(page, 'Visitors'), '10');
    assert.equal(await page.getByRole('navigation').count(), 0);
    assert.equal(await page.getByText('Log out').count(), 0);
    await page.goto(reads + path + '#/people');
    await page.getByText('There is no such page').waitFor();
    page.calm();
  },

  async 'the same page below /app/'() {
    const app = await full();
    const page = await open({}, collector + '/app');
    assert.equal(page.url(), collector + '/app/');
    await logIn(page, app.read);
    await shows(figure(page, 'Visitors'), '10');
    await page.locator('.land.s5').waitFor();
    await goTo(page, 'Live');
    await page.getByText('Waiting for hits').waitFor();
    const [cookie] = await page.context().cookies();
    assert.equal(cookie.path, '/app');
    page.calm();
  },

  async 'a failure says what to do, and is mended'() {
    const app = await App.make();
    await app.visitors(2);
    const page = await open();
    await logIn(page, app.read);
    await page.route('**/api/stats/top/**', (r) => r.fulfill({ status: 503, contentType: 'application/json', body: '{"detail":"The server is busy."}' }));
    page.expected.push('503');
    await page.reload();
    const failed = page.locator('.top-table', { hasText: 'Entry' }).locator('.failed');
    await failed.getByText('This table cannot be shown. The server is busy.').waitFor();
    await page.unroute('**/api/stats/top/**');
    await failed.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('button', { name: '/pricing', exact: true }).waitFor();
    await page.context().clearCookies();
    await goTo(page, 'Data');
    await page.getByText('The session has ended. Log in again.').waitFor();
    page.expected.push('401');
    page.calm();
  },

  async 'by the keyboard alone'() {
    const app = await App.make();
    await app.visitors(3);
    const page = await open();
    const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
    const focused = () => page.evaluate(() => (document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim());
    await page.waitForFunction(() => document.activeElement.id === 'token');
    await page.keyboard.type(app.read);
    await press('Enter');
    await page.getByRole('button', { name: 'Log out' }).waitFor();
    await settled(page);
    await until('the focus on the content', async () => (await page.evaluate(() => document.activeElement.id)) === 'main');
    await page.reload();
    await settled(page);
    await press('Tab');
    await until('the skip link', async () => (await focused()) === 'Skip to the content' || focused());
    await press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    await press('Tab'); // the chosen one of the days
    await press('ArrowLeft');
    await until('seven days', () => page.evaluate(() => location.hash.includes('range=7')));
    await press('Tab');
    assert.match(await focused(), /^Visitors/);
    await press('Tab', 'Enter');
    assert.equal(await page.getByRole('button', { name: /^Visits/ }).getAttribute('aria-pressed'), 'true');
    await page.getByRole('tab', { name: 'Pages', exact: true }).focus();
    await press('ArrowRight');
    assert.equal(await focused(), 'Entry');
    assert.equal(await page.getByRole('tab', { name: 'Entry' }).getAttribute('aria-selected'), 'true');
    await press('End');
    assert.equal(await focused(), 'Exit');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid', 'the focus cannot be seen');
    await page.locator('.top-table .panel').first().getByRole('button', { name: '/pricing' }).waitFor();
    await press('Tab', 'Enter');
    await page.locator('.chips li').waitFor();
    page.calm();
  },

  async 'the theme is kept'() {
    const app = await App.make();
    const page = await open({ colorScheme: 'dark' });
    const dark = () => page.evaluate(() => {
      const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
      return r + g + b < 200;
    });
    await logIn(page, app.read);
    assert.ok(await dark(), 'the system is dark, the page is not');
    await page.getByRole('button', { name: 'Theme: auto. Change to light.' }).click();
    assert.ok(!(await dark()));
    await page.reload();
    await page.getByRole('button', { name: 'Theme: light. Change to dark.' }).click();
    assert.ok(await dark());
    await page.emulateMedia({ colorScheme: 'light' });
    assert.ok(await dark(), 'what was chosen does not win over the system');
    page.calm();
  },

  async 'nothing jumps on the overview'() {
    const app = await full();
    const page = await open();
    await logIn(page, app.read);
    await settled(page);
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 900 });
      await page.goto('about:blank');
      await page.route('**/api/stats/**', async (r) => { // replies that come late, as over a slow line
        await new Promise((done) => setTimeout(done, 250));
        await r.continue();
      });
      await page.goto(reads + '/');
      await settled(page);
      const shift = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(globalThis.shift)))));
      assert.ok(shift <= shiftMax, `${width} px: the layout shifted by ${shift}, at most ${shiftMax}`);
      await page.unroute('**/api/stats/**');
    }
    page.troubles = page.troubles.filter((t) => !t.includes('about:blank'));
    page.calm();
  },

  async 'a refresh that fails moves nothing'() {
    const app = await full();
    const page = await open();
    await logIn(page, app.read);
    await settled(page);
    await page.locator('.land.s5').waitFor();
    await page.evaluate(() => { globalThis.shift = 0; });
    const failed = new Set();
    await page.route('**/api/stats/**', (r) => {
      failed.add(new URL(r.request().url()).search);
      return r.fulfill({ status: 503, contentType: 'application/json', body: '{"detail":"The server is busy."}' });
    });
    page.expected.push('503');
    await page.getByText(/^Not up to date since \d\d:\d\d\. Trying again\.$/).waitFor();
    await until('every card to have failed', () => failed.size >= 13 || failed.size);
    assert.equal(await page.locator('.failed').count(), 0, 'what is shown is said to be missing');
    await shows(figure(page, 'Visitors'), '10');
    await page.unroute('**/api/stats/**');
    await until('the line to go', async () => (await page.getByText('Not up to date').count()) === 0);
    const shift = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(globalThis.shift)))));
    assert.ok(shift <= shiftMax, `the layout shifted by ${shift}, at most ${shiftMax}`);
    page.calm();
  },

  async 'every page fits a phone of 320 px'() {
    const app = await full();
    const page = await open({ viewport: { width: 320, height: 640 } });
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok((await wide()) <= 0, 'the login is too wide');
    await logIn(page, app.admin);
    for (const [name, fragment] of Object.entries(app.pages)) {
      await page.goto(reads + '/' + fragment);
      await settled(page);
      assert.ok((await wide()) <= 0, `${name} is ${await wide()} px too wide`);
    }
    page.expected.push('404');
    page.calm();
  },

  async 'axe finds nothing serious, in both themes'() {
    const app = await full();
    for (const colorScheme of ['light', 'dark']) {
      const page = await open({ colorScheme });
      const look = async (name) => {
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
        const serious = violations.filter((v) => ['serious', 'critical'].includes(v.impact));
        assert.deepEqual(serious.map((v) => `${name}, ${colorScheme}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html + ' ' + n.failureSummary).join(' | ')}`), []);
      };
      await page.getByLabel('Token').waitFor();
      await look('login');
      await logIn(page, app.admin);
      for (const [name, fragment] of Object.entries(app.pages)) {
        if (['hours', 'year'].includes(name)) continue; // the overview again
        await page.goto(reads + '/' + fragment);
        await settled(page);
        if (name === 'live') {
          await page.getByText('Waiting for hits').waitFor();
          await app.send({ key: 'abcabcabcabc', url: 'https://shop.example/shoes' });
          await page.locator('.hits').waitFor();
        }
        await look(name);
      }
      page.expected.push('404');
      page.calm();
    }
  },
};

async function pictures(folder) {
  const app = await full();
  for (const [mode, options] of Object.entries({ light: {}, dark: { colorScheme: 'dark' }, phone: { viewport: { width: 360, height: 740 } } })) {
    const page = await open(options);
    await logIn(page, app.admin);
    for (const [name, fragment] of Object.entries(app.pages)) {
      await page.goto(reads + '/' + fragment);
      await settled(page);
      await page.screenshot({ path: `${folder}/${mode}-${name}.png`, fullPage: true });
    }
    await page.context().close();
  }
}

async function main() {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--headless=new', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update'],
  });
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    if (only.length && !only.includes(name)) continue;
    const began = Date.now();
    try {
      await run();
      console.log(`ok ${name} ${Date.now() - began}`);
    } catch (err) {
      failed++;
      console.log(`not ok ${name}: ${String(err.stack).replace(/\n/g, '\n  ')}`);
    }
    for (const context of browser.contexts()) await context.close();
  }
  if (process.env.SPOOR_SCREENSHOTS) await pictures(process.env.SPOOR_SCREENSHOTS);
  await browser.close();
  process.exit(failed ? 1 : 0);
}

main().catch((err) => {
  console.log('not ok runner: ' + err.stack);
  process.exit(1);
});
