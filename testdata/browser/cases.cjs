// What a visitor does, and what must be found afterwards. See run.cjs.
'use strict';
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const types = (hits) => hits.map((h) => h.type + (h.name ? ' ' + h.name : '')).sort();
const pagesOf = (hits) => hits.filter((h) => h.type === 'page');
const keyForm = /^[a-z0-9]{12}$/;
const thirteenMonths = 396 * 86400;

module.exports = {
  async 'first visit and reload'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const path = w.page(app);
    const tab = await v.open(path + '?utm_source=news&session=private');
    const [hit] = await app.until('the page hit', (h) => h.length > 0);
    w.assert.equal(hit.type, 'page');
    w.assert.equal(hit.door, 'widget');
    w.assert.equal(hit.url, w.site + path + '?utm_source=news');
    w.assert.equal(hit.title, 'Shoes');
    w.assert.equal(hit.resolution, '1280x800');
    w.assert.equal(hit.language, 'pl-PL');
    w.assert.equal(hit.timezone, 'Europe/Warsaw');
    w.assert.match(hit.event_id, /^[a-z0-9]{16}-1$/);
    const cookie = await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    w.assert.match(cookie.value, keyForm);
    w.assert.equal(cookie.sameSite, 'Lax');
    w.assert.equal(cookie.domain, 'www.shop.localhost');
    const life = cookie.expires - Date.now() / 1000;
    w.assert.ok(life > 360 * 86400 && life < thirteenMonths, 'the cookie lives ' + life + ' s');

    await w.sleep(1100); // a cookie that is renewed would end a second later
    await tab.reload();
    const hits = await app.until('both page hits', (h) => pagesOf(h).length === 2);
    w.assert.deepEqual(types(hits), ['leave page_leave', 'page', 'page']);
    const again = (await v.cookies()).__ca__chat;
    w.assert.equal(again.value, cookie.value);
    w.assert.equal(again.expires, cookie.expires, 'the cookie was renewed');
    w.assert.equal(await w.until('the key', () => tab.evaluate(() => civchat.userKey)), cookie.value); // stored comes before answered
    const user = await app.user('key=' + cookie.value);
    w.assert.equal(user.page_views, 2);
    w.assert.ok(w.gateway.events(app).filter((e) => e.type === 'page')[1].key === cookie.value);
    w.assert.deepEqual(v.errors, []);
  },

  async 'hints of the device'(w) {
    const app = await w.app();
    const v = await w.visitor({ hasTouch: true });
    const tab = await v.context.newPage();
    const version = (major) => [{ brand: 'Chromium', version: major }, { brand: 'Google Chrome', version: major }];
    await (await v.context.newCDPSession(tab)).send('Emulation.setUserAgentOverride', {
      userAgent: 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36',
      userAgentMetadata: { brands: version('156'), fullVersionList: version('156.0.8078.79'), platform: 'Windows', platformVersion: '15.0.0', architecture: 'x86', model: '', mobile: false },
    });
    await tab.goto(w.site + w.page(app));
    const [hit] = await app.until('the page', (h) => h.length === 1);
    w.assert.deepEqual([hit.os, hit.os_version, hit.browser], ['Windows', '11', 'Chrome']); // the user agent alone says 10
    const { hints } = w.gateway.events(app)[0];
    w.assert.equal(hints.fullVersionList[1].version, '156.0.8078.79');
    w.assert.ok(hints.touch_points > 0);
  },

  async 'routes of a single-page application'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const path = w.page(app);
    const tab = await v.open(path);
    await app.until('the first page', (h) => h.length === 1);
    await tab.evaluate(() => {
      history.pushState(null, '', '/cart');
      document.title = 'Cart'; // as routers do, after the address
      history.replaceState({ scroll: 1 }, '', '/cart'); // the same page
    });
    await app.until('the cart', (h) => h.some((x) => x.title === 'Cart'));
    await tab.evaluate(() => { location.hash = '#reviews'; }); // a place on the page
    await tab.evaluate(() => { location.hash = '#/reviews/2'; });
    await app.until('the hash route', (h) => pagesOf(h).length === 3);
    await tab.goBack();
    await tab.goBack();
    const hits = await app.until('the way back', (h) => pagesOf(h).length === 4);
    w.assert.deepEqual(pagesOf(hits).map((h) => h.url), [w.site + path, w.site + '/cart', w.site + '/cart#/reviews/2', w.site + '/cart']);
    w.assert.equal(pagesOf(hits)[1].referrer, w.site + path);
    w.assert.equal(hits.filter((h) => h.name === 'page_leave').length, 3);
  },

  async 'page hide tells time and depth'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const path = w.page(app, { body: '<div style="height:4000px">shoes</div>' });
    const tab = await v.open(path);
    await app.until('the page', (h) => h.length === 1);
    await tab.evaluate(() => scrollTo(0, 1200));
    await w.sleep(1200);
    await tab.goto(w.site + '/elsewhere');
    const hits = await app.until('the leave', (h) => h.some((x) => x.name === 'page_leave'));
    const leave = hits.find((h) => h.name === 'page_leave');
    w.assert.equal(leave.url, w.site + path);
    w.assert.ok(leave.properties.seconds >= 1 && leave.properties.seconds <= 5, JSON.stringify(leave.properties));
    w.assert.ok(leave.properties.scroll >= 48 && leave.properties.scroll <= 52, JSON.stringify(leave.properties));
    await w.sleep(300);
    w.assert.equal((await app.hits()).length, 2);
  },

  async 'events and product events, also before the script'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const early = '<script>window.userengage = function () { (userengage.q = userengage.q || []).push(arguments) }; userengage("event.early", {n: 1})</script>';
    const tab = await v.open(w.page(app, { before: early }));
    await tab.waitForFunction(() => window.UE && UE.consent);
    await tab.evaluate(() => {
      userengage('event.signup', { plan: 'pro', deep: { a: [1, 2] } });
      userengage('signup', { plan: 'none' }); // the name must begin with event.
      userengage('product_event', { product_id: 'p7', event_type: 'add to cart', price: 12.5 });
      const circle = {};
      circle.circle = circle;
      userengage('event.circle', circle);
      userengage('event.large', { text: 'x'.repeat(20000) });
      userengage(null);
    });
    const hits = await app.until('the events', (h) => h.length === 4);
    w.assert.deepEqual(types(hits), ['event early', 'event signup', 'page', 'product add to cart']);
    w.assert.deepEqual(hits.find((h) => h.name === 'signup').properties, { plan: 'pro', deep: { a: [1, 2] } });
    w.assert.deepEqual(hits.find((h) => h.type === 'product').properties, { product_id: 'p7', event_type: 'add to cart', price: 12.5 });
    w.assert.deepEqual(v.errors, []);
    w.assert.equal(w.gateway.requests.filter((r) => r.path === '/widget-more.js').length, 0, 'a page without use for it has loaded more');
  },

  async 'offline then online'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const tab = await v.open(w.page(app));
    await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await w.sleep(100);
    await v.context.setOffline(true);
    await tab.evaluate(() => { for (let i = 0; i < 120; i++) userengage('event.offline', { i }); });
    const stored = await w.until('the queue on the device', async () => (await v.storage(tab))[0]);
    const entry = JSON.parse(await tab.evaluate((k) => localStorage[k], stored));
    w.assert.equal(entry.events.length, 100);
    w.assert.ok(entry.events.every((e) => keyForm.test(e.key)));
    await tab.evaluate(() => userengage('event.last'));
    await w.sleep(100);
    await v.context.setOffline(false);
    const hits = await app.until('what was kept', (h) => h.filter((x) => x.name === 'last').length === 1 && h.length >= 101);
    const numbers = hits.filter((h) => h.name === 'offline').map((h) => h.properties.i).sort((a, b) => a - b);
    w.assert.deepEqual(numbers, Array.from({ length: 99 }, (_, n) => n + 21)); // the oldest went
    const told = hits.reduce((sum, h) => sum + (h.properties?.spoor_dropped || 0), 0);
    w.assert.equal(told, 20, 'events tell how many were dropped before them');
    await w.until('an empty device', async () => (await v.storage(tab)).length === 0);
    w.assert.ok(w.gateway.of(app).every((r) => r.body.length < 48000));
    w.assert.deepEqual(v.errors, []);
  },

  async 'what a page leaves unsent goes with the next'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const path = w.page(app);
    const tab = await v.open(path);
    await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await w.sleep(100);
    w.gateway.trouble = { status: 503, headers: { 'Retry-After': '60' } };
    await tab.evaluate(() => userengage('event.unsent'));
    await w.until('a refused try', () => w.gateway.of(app).some((r) => r.status === 503));
    await tab.close({ runBeforeUnload: true });
    w.gateway.trouble = null;
    const before = w.gateway.events(app).find((e) => e.name === 'unsent');
    await v.open(path);
    const hits = await app.until('the event', (h) => h.some((x) => x.name === 'unsent') && pagesOf(h).length === 2);
    const hit = hits.find((h) => h.name === 'unsent');
    w.assert.equal(hit.event_id, before.id);
    w.assert.equal(hits.filter((h) => h.name === 'unsent').length, 1);
  },

  async '503 and again'(w) {
    const app = await w.app();
    w.gateway.trouble = { status: 503, headers: { 'Retry-After': '2' }, count: 1, after: true }; // stored, and the answer is lost
    const v = await w.visitor();
    await v.open(w.page(app));
    await app.until('the page', (h) => h.length === 1);
    await w.until('the second try', () => w.gateway.of(app).length === 2);
    const [first, second] = w.gateway.of(app);
    w.assert.ok(second.at - first.at >= 1900, 'came again after ' + (second.at - first.at) + ' ms, not 2 s');
    w.assert.equal(second.events[0].id, first.events[0].id);
    await w.sleep(500);
    w.assert.equal((await app.hits()).length, 1, 'stored once');
    w.assert.equal(w.gateway.of(app).length, 2, 'the verdict ends it');
  },

  async 'a refusal is final and said once'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const said = [];
    v.context.on('console', (m) => said.push(m.type() + ': ' + m.text()));
    const tab = await v.open(w.page({ key: 'unknown-key' }));
    await w.until('a try', () => w.gateway.of({ key: 'unknown-key' }).length === 1);
    await w.until('the warning', () => said.some((s) => s.startsWith('warning')));
    await tab.evaluate(() => userengage('event.more'));
    await w.sleep(500);
    w.assert.equal(w.gateway.of({ key: 'unknown-key' }).length, 1, 'another try');
    w.assert.match(said.filter((s) => s.startsWith('warning')).join(), /^warning: spoor: {"success":false,"error":"unknown_write_key",[^,]*"message":"[^"]*"}$/);
    w.assert.deepEqual(v.errors, []);
    w.assert.equal((await app.hits()).length, 0);
  },

  async 'two tabs do not send twice'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const path = w.page(app);
    const first = await v.open(path);
    await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    const second = await v.open(path);
    await app.until('both pages', (h) => pagesOf(h).length === 2);
    await w.sleep(200);
    w.gateway.trouble = { status: 503, headers: { 'Retry-After': '3' }, count: 3 };
    for (const tab of [first, second]) await tab.evaluate((n) => userengage('event.tab', { n }), tab === first ? 1 : 2);
    await w.until('two entries', async () => (await v.storage(first)).length === 2);
    await w.until('both tries', () => w.gateway.of(app).filter((r) => r.status === 503).length === 2);
    await second.close({ runBeforeUnload: true });
    await w.until('its beacon, refused as well', () => w.gateway.trouble === null);
    await Promise.all([v.open(path), v.open(path)]); // both look for what the second left, and leave the first its own
    await app.until('all', (h) => h.filter((x) => x.name === 'tab').length === 2 && pagesOf(h).length === 4);
    await w.sleep(3000); // the first comes again
    const taken = w.gateway.of(app).filter((r) => r.status === 200).flatMap((r) => r.events).filter((e) => e.name === 'tab');
    w.assert.deepEqual(taken.map((e) => e.properties.n).sort(), [1, 2], 'each is sent until it is taken, and no more');
    const keys = new Set((await app.hits()).map((h) => h.key).filter(Boolean));
    w.assert.ok(keys.size <= 1, [...keys].join());
    w.assert.equal((await app.user('key=' + (await v.cookies()).__ca__chat.value)).page_views, 4);
  },

  async 'modes and consent'(w) {
    for (const mode of ['cookieless', 'exempt', 'consent']) {
      for (const consent of ['none', 'given', 'denied', 'withdrawn']) {
        const at = `${mode}, consent ${consent}: `;
        const app = await w.app({ mode });
        const v = await w.visitor();
        const tab = await v.open(w.page(app));
        await tab.waitForFunction(() => window.UE && UE.consent);
        const say = (analytics) => tab.evaluate((analytics) => UE.consent({ analytics, marketing: false }), analytics);
        if (consent === 'given' || consent === 'withdrawn') {
          await w.until('the first reply', () => w.gateway.of(app).some((r) => r.status === 200));
          await w.sleep(100);
          w.assert.equal((await app.hits()).length, mode === 'consent' ? 0 : 1, at + 'hits before');
          w.assert.equal('__ca__chat' in (await v.cookies()), mode === 'exempt', at + 'the cookie before');
          await say(true);
        }
        if (consent === 'denied') await say(false);
        if (consent !== 'denied' && (consent !== 'none' || mode !== 'consent')) {
          await app.until(at + 'the page', (h) => pagesOf(h).length === 1);
          if (mode !== 'cookieless') await w.until(at + 'the cookie', async () => (await v.cookies()).__ca__chat);
        }
        if (consent === 'withdrawn') await say(false);
        await tab.evaluate(() => userengage('event.after'));
        const after = consent === 'given' || (consent === 'none' && mode !== 'consent');
        if (after) await app.until(at + 'the event', (h) => h.some((x) => x.name === 'after'));
        else await w.sleep(250);
        const names = types(await app.hits()).filter((n) => n !== 'leave page_leave');
        const want = [...(after ? ['event after'] : []), ...(consent === 'withdrawn' || after ? ['page'] : [])];
        // What was on its way when it was denied may have arrived in the modes that ask nobody.
        if (consent === 'denied' && mode !== 'consent') w.assert.ok(names.length <= 1 && !names.includes('event after'), at + names);
        else w.assert.deepEqual(names, want, at + 'hits');
        const cookies = await v.cookies();
        const mayKeep = mode !== 'cookieless' && after;
        w.assert.equal('__ca__chat' in cookies, mayKeep, at + 'the cookie');
        w.assert.equal(cookies.__ca__consent?.value, { none: undefined, given: '1.0.NaN', denied: '0.0.NaN', withdrawn: '0.0.NaN' }[consent], at + 'the choice');
        w.assert.deepEqual((await v.storage(tab)).filter((k) => !mayKeep || !k.startsWith('__spoor.')), [], at + 'localStorage');
        w.assert.deepEqual(Object.keys(cookies).filter((c) => !['__ca__chat', '__ca__consent'].includes(c)), [], at + 'other cookies');
        w.assert.deepEqual(v.errors, [], at);
        await v.context.close();
      }
    }
  },

  async 'consent is remembered and held events keep their ids'(w) {
    const app = await w.app({ mode: 'consent' });
    const v = await w.visitor();
    const path = w.page(app);
    const tab = await v.open(path);
    await w.until('the first reply', () => w.gateway.of(app).some((r) => r.status === 200));
    await tab.evaluate(() => userengage('event.held'));
    await w.sleep(300);
    w.assert.equal(w.gateway.of(app).length, 1, 'sent more before consent');
    w.assert.equal(w.gateway.events(app)[0].key, undefined);
    const id = w.gateway.events(app)[0].id;
    await tab.evaluate(() => UE.consent({ analytics: true }));
    const hits = await app.until('what was held', (h) => h.length === 2);
    w.assert.deepEqual(hits.map((h) => h.event_id).sort(), [id, id.replace(/-1$/, '-2')]);
    await w.until('the cookie, which comes with the reply', async () => (await v.cookies()).__ca__chat);
    await tab.reload();
    await app.until('a page without asking', (h) => pagesOf(h).length === 2);
    w.assert.equal((await app.user('key=' + (await v.cookies()).__ca__chat.value)).page_views, 2);
  },

  async 'who says who he is, is that person'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const anonymous = w.page(app);
    await v.open(anonymous);
    await app.until('the anonymous page', (h) => h.length === 1);
    const snippet = `<script data-cfasync="false">window.civchat = { apiKey: "${app.key}", user_id: "u-77", email: "ann@shop.example", plan: "pro", company: { name: "Shoes" }, state: "simple",
      onLoad() { this.loaded = 1 }, set userKey(k) { this.copied = k } };</script><script data-cfasync="false" src="${w.track}/widget.js"></script>`;
    const tab = await v.open(w.page(app, { snippet }));
    await app.until('the known page', (h) => pagesOf(h).length === 2);
    const key = (await v.cookies()).__ca__chat.value;
    const user = await w.until('the profile', () => app.user('user_id=u-77'));
    w.assert.equal(user.email, 'ann@shop.example');
    w.assert.equal(user.key, key);
    w.assert.equal(user.page_views, 2, 'the anonymous visit is the same person’s');
    w.assert.equal(JSON.stringify(user).includes('"simple"'), false);
    await w.until('the setter', () => tab.evaluate(() => civchat.copied));
    w.assert.equal(await tab.evaluate(() => civchat.copied), key);
    w.assert.equal(await tab.evaluate(() => civchat.loaded), 1);
    await tab.evaluate(() => UE.pageHit({ first_name: 'Ann' }));
    await app.until('the page hit', (h) => pagesOf(h).length === 3);
    w.assert.equal((await app.user('user_id=u-77')).first_name, 'Ann');
    w.assert.deepEqual(v.errors, []);
  },

  async 'reset begins another visitor'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const snippet = `<script>window.civchat = { apiKey: "${app.key}", user_id: "u-1", email: "one@shop.example" }</script><script src="${w.track}/widget.js"></script>`;
    const tab = await v.open(w.page(app, { snippet }));
    const before = (await w.until('the cookie', async () => (await v.cookies()).__ca__chat)).value;
    await tab.evaluate(() => { userengage('event.before'); UE.resetAuth({ user_id: 'u-2' }); });
    const after = (await w.until('another cookie', async () => {
      const c = (await v.cookies()).__ca__chat;
      return c && c.value !== before && c;
    })).value;
    w.assert.equal(await tab.evaluate(() => civchat.userKey), after);
    await tab.evaluate(() => userengage('event.after'));
    await app.until('both events', (h) => h.some((x) => x.name === 'after') && h.some((x) => x.name === 'before'));
    const [one, two] = [await app.user('user_id=u-1'), await app.user('user_id=u-2')];
    w.assert.notEqual(one.id, two.id);
    w.assert.equal(two.email || '', '');
    const of = Object.fromEntries((await app.hits()).map((h) => [h.name, h.user]));
    w.assert.notEqual(of.before ?? 1, of.after ?? 2);
    await tab.evaluate(() => { UE.destroy(); userengage('event.destroyed'); UE.pageHit({}); });
    await w.sleep(300);
    w.assert.ok(!(await app.hits()).some((h) => h.name === 'destroyed'));
    w.assert.deepEqual(v.errors, []);
  },

  async 'global privacy control'(w) {
    for (const [gpc, want] of [['ignore', { hits: 1, cookie: true }], ['cookieless', { hits: 1, cookie: false }], ['drop', { hits: 0, cookie: false }]]) {
      const app = await w.app({ mode: 'exempt', gpc });
      const v = await w.visitor({ extraHTTPHeaders: { 'Sec-GPC': '1' } });
      const tab = await v.open(w.page(app));
      await w.until('a reply', () => w.gateway.of(app).some((r) => r.status === 200));
      await w.sleep(150);
      w.assert.equal(w.gateway.of(app)[0].headers['sec-gpc'], '1');
      w.assert.equal((await app.hits()).length, want.hits, gpc);
      w.assert.equal('__ca__chat' in (await v.cookies()), want.cookie, gpc);
      w.assert.deepEqual(await v.storage(tab), []);
      await v.context.close();
    }
  },

  async 'ignore me'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const path = w.page(app, { body: '<a id="out" href="#spoor=ignore">Do not count me</a>' });
    const tab = await v.open(path);
    await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    await app.until('the page', (h) => h.length === 1);
    await tab.click('#out');
    const cookies = await w.until('the choice', async () => {
      const c = await v.cookies();
      return c.__spoor_ignore && c;
    });
    w.assert.deepEqual(Object.keys(cookies), ['__spoor_ignore']);
    const life = cookies.__spoor_ignore.expires - Date.now() / 1000;
    w.assert.ok(life > 390 * 86400 && life < thirteenMonths);
    const sent = w.gateway.requests.length;
    await tab.evaluate(() => userengage('event.ignored'));
    const again = await v.open(path);
    await again.evaluate(() => userengage('event.ignored'));
    await w.sleep(300);
    w.assert.equal(w.gateway.of(app).length, w.gateway.requests.slice(0, sent).filter((r) => r.path === '/w').length, 'an ignored visitor sent something');
    await v.open(path + '#spoor=track');
    await app.until('a page again', (h) => pagesOf(h).length === 2);
    const last = await v.open(path);
    await app.until('another', (h) => pagesOf(h).length === 3);
    await last.evaluate(() => UE.optOut());
    w.assert.deepEqual(Object.keys(await v.cookies()), ['__spoor_ignore']);
    await last.evaluate(() => UE.optIn());
    w.assert.deepEqual(Object.keys(await v.cookies()), []);
  },

  async 'the collector is down'(w) {
    const app = await w.app();
    w.gateway.trouble = 'down';
    const v = await w.visitor();
    const body = '<form data-spoor-form="f"><input name="a" value="1"><button>send</button></form><script>addEventListener("submit", (e) => { e.preventDefault(); window.submitted = 1 })</script>';
    const tab = await v.open(w.page(app, { body })); // not even the script
    await tab.click('button');
    w.assert.equal(await tab.evaluate(() => window.submitted), 1);
    w.assert.deepEqual(v.errors, []);
    w.gateway.trouble = null;
    const late = await v.open(w.page(app, { body }));
    await app.until('the page', (h) => h.length === 1);
    w.gateway.trouble = 'down'; // from now on
    await late.evaluate(() => {
      UE.pageHit({ a: 1 });
      userengage('event.x');
      history.pushState({ mine: 1 }, '', '/route');
      if (history.state.mine !== 1) throw new Error('the history is not the page’s');
    });
    await late.click('button');
    w.assert.equal(await late.evaluate(() => window.submitted), 1);
    await w.sleep(300);
    await late.goto(w.site + '/elsewhere');
    w.assert.deepEqual(v.errors, []);
    w.assert.deepEqual(Object.keys(await v.cookies()), []);
  },

  async 'a strict page on another origin'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const blocked = [];
    v.context.on('console', (m) => m.type() === 'error' && blocked.push(m.text()));
    const policy = `default-src 'none'; script-src ${w.track}; connect-src ${w.track}; form-action 'self'`;
    const path = w.page(app, { headers: { 'Content-Security-Policy': policy }, body: '<a href="https://elsewhere.example/">away</a>' });
    await v.open(path, w.otherSite);
    const [hit] = await app.until('the page', (h) => h.length === 1);
    w.assert.equal(hit.url, w.otherSite + path);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await w.sleep(100);
    w.assert.deepEqual(blocked.filter((t) => !/favicon/.test(t)), []);
    const nonce = `default-src 'none'; script-src 'nonce-abc'; connect-src ${w.track}`;
    const snippet = `<script nonce="abc">window.civchat = { apiKey: "${app.key}", email: "csp@shop.example" }</script><script nonce="abc" src="${w.track}/widget.js"></script>`;
    await v.open(w.page(app, { snippet, headers: { 'Content-Security-Policy': nonce } }), w.otherSite);
    await app.until('the page with a nonce', (h) => pagesOf(h).length === 2);
    w.assert.ok(await w.until('the attribute', () => app.user('email=csp@shop.example')));
    w.assert.deepEqual(blocked.filter((t) => !/favicon/.test(t)), []);
    w.assert.deepEqual(v.errors, []);
  },

  async 'forms never send secrets'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const secret = 'S3CRETVALUE';
    const fields = [
      'type="password" name="p"', 'type="hidden" name="h"', 'name="x" autocomplete="cc-number"', 'name="y" autocomplete="section-a billing cc-csc"',
      'name="card"', 'name="cardNumber"', 'name="cvc"', 'name="CVV2"', 'name="iban"', 'name="ssn"', 'name="passport"', 'name="api_token"', 'name="client_secret"',
      'name="z" id="user-password"', 'name="n" autocomplete="new-password"',
      'name="pwd"', 'name="PIN"', 'name="userPin"', 'name="pin_code"', 'name="smsOtp"', 'name="cv2"', 'name="apiKey"', 'name="api-key"', 'name="m" autocomplete="one-time-code"',
      'name="o" autocomplete="current-password"', 'name="q" id="otp1"', 'name="r" aria-label="Your PIN"', 'name="s" type="password" id="shown"',
    ].map((f) => `<input ${f} value="${secret}">`).join('');
    const body = `<form data-spoor-form="order" id="f">${fields}<input name="number" value="4111 1111 1111 1111"><input type="file" name="upload"><label>Card number <input name="t" value="${secret}"></label>
      <input name="c1" value="4111.1111.1111.1111"><input name="c2" value="4111\u00a01111\u00a01111\u00a01111"><input name="c3" value="please charge 4111-1111-1111-1111, until 12/27"><input name="c4" value="411111111111 1111 12/27 123"><input name="c5" value="5018 0000 0009"><input name="shipping" value="+48 601 234 567, 2 of 3"><button type="button" id="show" onclick="document.getElementById('shown').type = 'text'">show</button>
      <input name="city" value="Warsaw"><textarea name="note">twice</textarea><input name="size" type="checkbox" value="40" checked><input name="size" type="checkbox" value="41" checked><input name="size" type="checkbox" value="42">
      <select name="colour"><option>red<option selected>green</select><button name="go" value="1">send</button></form>
      <form id="other"><input name="private" value="${secret}"><button id="b2">send</button></form>
      <script>addEventListener("submit", (e) => e.preventDefault())</script>`;
    const tab = await v.open(w.page(app, { body }));
    await app.until('the page', (h) => h.length === 1);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await tab.click('#b2');
    await tab.click('#show'); // what was a password stays one
    await tab.click('#f [name=go]');
    const hits = await app.until('the form', (h) => h.some((x) => x.type === 'form'));
    const form = hits.filter((h) => h.type === 'form');
    w.assert.equal(form.length, 1);
    w.assert.equal(form[0].name, 'order');
    w.assert.deepEqual(form[0].properties, { shipping: '+48 601 234 567, 2 of 3', city: 'Warsaw', note: 'twice', size: ['40', '41'], colour: 'green' });
    for (const r of w.gateway.requests) w.assert.ok(!r.body.includes(secret) && !/4111|5018|1111/.test(r.body), 'a secret was sent');
    w.assert.deepEqual(v.errors, []);
  },

  async 'links that lead away, and files'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const body = `<a id="in" href="/inside?x=1">in</a><a id="out" href="${w.otherSite}/x?token=private#frag">out</a><a id="pdf" href="/list.pdf?user=7">pdf</a><a id="mail" href="mailto:ann@shop.example">mail</a>
      <script>addEventListener("click", (e) => { if (e.target.id !== "out") e.preventDefault() })</script>`;
    const tab = await v.open(w.page(app, { body }));
    await app.until('the page', (h) => h.length === 1);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await w.sleep(100);
    for (const id of ['in', 'mail', 'pdf', 'out']) await tab.click('#' + id); // the last one leaves the page
    const hits = await app.until('the clicks', (h) => h.filter((x) => x.type === 'click').length === 2);
    const clicks = Object.fromEntries(hits.filter((h) => h.type === 'click').map((h) => [h.name, h.properties]));
    w.assert.deepEqual(clicks, { outbound: { url: w.otherSite + '/x' }, download: { url: w.site + '/list.pdf' } });
  },

  async 'javascript errors where they are wanted'(w) {
    for (const errors of [true, false]) {
      const app = await w.app({ errors });
      const v = await w.visitor();
      const tab = await v.open(w.page(app));
      await app.until('the page', (h) => h.length === 1);
      if (errors) await w.until('the second file', () => tab.evaluate(() => performance.getEntriesByType('resource').some((e) => /widget-more/.test(e.name))));
      await w.sleep(200);
      await tab.evaluate(() => { setTimeout(() => { throw new Error('broken shoes of ann.kow@shop.example at https://api.shop.example/x?token=private'); }); Promise.reject(new Error('broken promise')); });
      if (errors) await app.until('the errors', (h) => h.filter((x) => x.name === 'js_error').length === 2);
      else await w.sleep(300);
      const found = (await app.hits()).filter((h) => h.name === 'js_error');
      w.assert.equal(found.length, errors ? 2 : 0);
      if (errors) w.assert.ok(found.some((h) => /broken shoes/.test(h.properties.message) && h.properties.line > 0), JSON.stringify(found[0].properties));
      w.assert.ok(w.gateway.of(app).every((r) => !/ann\.kow|private/.test(r.body)), 'an address or a query was sent');
      await v.context.close();
    }
  },

  async 'a cookie that the collector sets'(w) {
    const app = await w.app({ mode: 'exempt', cookie_domain: 'shop.localhost' });
    const v = await w.visitor();
    const path = w.page(app, { track: w.ownTrack });
    const tab = await v.open(path);
    const cookie = await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    w.assert.equal(cookie.domain, '.shop.localhost');
    w.assert.match(cookie.value, keyForm);
    await tab.reload();
    await app.until('both pages', (h) => pagesOf(h).length === 2);
    w.assert.equal((await app.user('key=' + cookie.value)).page_views, 2);
    await tab.evaluate(() => UE.consent({ analytics: false }));
    w.assert.deepEqual(Object.keys(await v.cookies()), ['__ca__consent'], 'withdrawal deletes it, of whatever domain');
  },

  async 'two apps on one origin keep their own'(w) {
    const one = await w.app({ mode: 'exempt' });
    const other = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const tab = await v.open(w.page(one));
    await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    await w.until('the second file', () => w.gateway.requests.some((r) => r.path === '/widget-more.js'));
    await w.sleep(100);
    w.gateway.trouble = { status: 503, headers: { 'Retry-After': '60' } };
    await tab.evaluate(() => userengage('event.unsent'));
    await w.until('a refused try', () => w.gateway.of(one).some((r) => r.status === 503));
    await tab.close({ runBeforeUnload: true });
    w.gateway.trouble = null;
    const foreign = await v.open(w.page(other, { body: '<a href="https://elsewhere.example/">away</a>' }));
    await other.until('its page', (h) => h.length === 1);
    await w.sleep(400);
    await foreign.evaluate(() => UE.consent({ analytics: false })); // removes what is its own
    w.assert.deepEqual(w.gateway.events(other).map((e) => e.type), ['page']);
    w.assert.deepEqual((await v.storage(foreign)).map((k) => k.split('.').slice(0, 2).join('.')), ['__spoor.' + one.key]);
    await v.context.clearCookies();
    await v.open(w.page(one));
    await one.until('the event', (h) => h.some((x) => x.name === 'unsent'));
    w.assert.ok(!w.gateway.events(other).some((e) => e.name === 'unsent'));
    w.assert.deepEqual(v.errors, []);
  },

  async 'nothing leaves before consent where the page says so'(w) {
    const count = '<script>window.asked = 0; const real = NavigatorUAData.prototype.getHighEntropyValues; NavigatorUAData.prototype.getHighEntropyValues = function (l) { asked++; return real.call(this, l) }</script>';
    const form = '<form data-spoor-form="order"><input name="city" value="Warsaw"><button>send</button></form><script>addEventListener("submit", (e) => e.preventDefault())</script>';
    for (const by of ['tag', 'civchat']) {
      const app = await w.app({ mode: 'consent' });
      const v = await w.visitor();
      const conf = `<script>window.civchat = { user_id: "u-9", email: "ann@shop.example", onLoad() { this.loaded = 1 }${by === 'tag' ? '' : ', mode: "consent"'} }</script>`;
      const snippet = `${conf}<script async src="${w.track}/widget.js" data-key="${app.key}"${by === 'tag' ? ' data-mode="consent"' : ''}></script>`;
      const path = w.page(app, { before: count, snippet, body: form });
      const tab = await v.open(path);
      await tab.waitForFunction(() => window.UE && UE.consent && civchat.loaded);
      await tab.evaluate(() => { userengage('event.held'); UE.consent({ marketing: true }); });
      await tab.click('button');
      await tab.evaluate(() => dispatchEvent(new Event('pagehide')));
      await w.sleep(500);
      await (await v.open(path)).goto(w.site + '/elsewhere'); // a page that is left says nothing either
      await w.sleep(200);
      w.assert.equal(w.gateway.of(app).length, 0, by + ': a request before consent');
      w.assert.equal(await tab.evaluate(() => window.asked), 0, by + ': hints before consent');
      w.assert.deepEqual(Object.keys(await v.cookies()), ['__ca__consent']);
      w.assert.deepEqual(await v.storage(tab), []);
      await tab.evaluate(() => UE.consent({ analytics: true }));
      const hits = await app.until('what was held', (h) => ['page', 'event held', 'form order'].every((t) => types(h).includes(t)));
      w.assert.equal(hits.filter((h) => h.name === 'held').length, 1);
      w.assert.ok(w.gateway.events(app)[0].hints.fullVersionList, 'hints after consent');
      w.assert.ok(await w.until('the person', () => app.user('user_id=u-9')));
      w.assert.deepEqual(v.errors, []);
      await v.context.close();
    }
  },

  async 'a device that may keep nothing is cleaned'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const planted = `<script>for (const k of ["__spoor.${app.key}.left", "__spoor.another.left", "mine"]) localStorage[k] = "1"</script>`;
    const tab = await v.open(w.page(app, { before: planted }));
    await app.until('the page', (h) => h.length === 1);
    await w.until('a clean device', async () => (await v.storage(tab)).length === 2);
    w.assert.deepEqual((await v.storage(tab)).sort(), ['__spoor.another.left', 'mine']);
    w.assert.equal(w.gateway.requests.filter((r) => r.path === '/widget-more.js').length, 0);
  },

  async 'a cookie that is none of the collector’s is replaced'(w) {
    for (const value of ['x'.repeat(3000), '~AAAAAAAAAAAAAAAAAAAAAA', '<script>']) {
      const app = await w.app({ mode: 'exempt' });
      const v = await w.visitor();
      await v.context.addCookies([{ name: '__ca__chat', value, domain: '.shop.localhost', path: '/' }]);
      const tab = await v.open(w.page(app));
      const of = async () => (await v.context.cookies(w.site)).filter((c) => c.name === '__ca__chat').map((c) => c.value);
      await w.until('another cookie than ' + value.slice(0, 24), async () => (await of()).every((c) => keyForm.test(c)));
      w.assert.equal((await of()).length, 1);
      const key = (await of())[0];
      w.assert.equal(await tab.evaluate(() => civchat.userKey), key);
      await tab.evaluate(() => userengage('event.next'));
      await app.until('an event of the same visitor', (h) => h.some((x) => x.name === 'next'));
      w.assert.equal(w.gateway.events(app).find((e) => e.name === 'next').key, key);
      w.assert.ok(await app.user('key=' + key));
      await v.context.close();
    }
  },

  async 'a choice is written when it changes'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const says = (consent) => w.page(app, { before: `<script>window.civchat = { consent: ${JSON.stringify(consent)} }</script>` });
    const silent = await v.open(w.page(app));
    await silent.waitForFunction(() => window.UE && UE.consent);
    await silent.evaluate(() => { UE.consent({}); UE.consent({ analytics: 'yes' }); });
    w.assert.deepEqual(Object.keys(await v.cookies()), []);
    const path = says({ analytics: true, marketing: false });
    await v.open(path);
    const kept = await w.until('the choice', async () => (await v.cookies()).__ca__consent);
    w.assert.equal(kept.value, '1.0.NaN');
    await w.sleep(1100); // a cookie that is renewed would end a second later
    const tab = await v.open(path);
    await tab.waitForFunction(() => window.UE && UE.consent);
    await tab.evaluate(() => UE.consent({ marketing: false }));
    w.assert.equal((await v.cookies()).__ca__consent.expires, kept.expires, 'the choice was renewed');
    await v.open(says({ analytics: false })); // the page's word wins
    await w.until('the new choice', async () => (await v.cookies()).__ca__consent.value === '0.0.NaN');
  },

  async 'without a write key it only says so'(w) {
    const v = await w.visitor();
    const said = [];
    v.context.on('console', (m) => said.push(m.type() + ': ' + m.text()));
    const snippet = `<script>window.civchat = { user_id: "u1" }</script><script async src="${w.track}/widget.js"></script>`;
    const tab = await v.open(w.page({}, { snippet, body: '<a href="https://elsewhere.example/">away</a>' }));
    await tab.waitForFunction(() => window.UE && UE.consent);
    await tab.evaluate(() => { userengage('event.x'); UE.consent({ analytics: true }); UE.pageHit({}); UE.resetAuth({}); history.pushState(null, '', '/route'); });
    await w.sleep(300);
    // What the page of another case has left may still come.
    w.assert.deepEqual(w.gateway.requests.filter((r) => r.path !== '/w' || !r.key || r.key === 'undefined').map((r) => r.path), ['/widget.js']);
    w.assert.deepEqual(said.filter((s) => s.startsWith('warning')), ['warning: spoor: no data-key']);
    w.assert.deepEqual(Object.keys(await v.cookies()), []);
    w.assert.deepEqual(v.errors, []);
  },

  async 'after destroy nothing is done any more'(w) {
    const app = await w.app({ mode: 'exempt' });
    const v = await w.visitor();
    const tab = await v.open(w.page(app));
    const cookie = await w.until('the cookie', async () => (await v.cookies()).__ca__chat);
    await tab.evaluate(() => UE.destroy());
    await w.sleep(200);
    const before = w.gateway.requests.length;
    await tab.evaluate(() => { UE.consent({ analytics: false }); UE.resetAuth({}); UE.pageHit({ user_id: 'u1' }); userengage('event.x'); });
    await w.sleep(300);
    w.assert.deepEqual(Object.entries(await v.cookies()).map(([k, c]) => [k, c.value]), [['__ca__chat', cookie.value]]);
    w.assert.equal(w.gateway.requests.length, before);
    w.assert.deepEqual(v.errors, []);
  },

  // A browser that is driven like this never shows pages that it has rendered
  // ahead, so the page itself says that it is one.
  async 'a page that is rendered before it is seen'(w) {
    const app = await w.app();
    const v = await w.visitor();
    const ahead = '<script>window.ahead = true; Object.defineProperty(document, "prerendering", { get: () => ahead })</script>';
    const tab = await v.open(w.page(app, { before: ahead }));
    await tab.waitForFunction(() => window.UE && UE.consent);
    await w.sleep(400);
    w.assert.equal(w.gateway.of(app).length, 0, 'it was sent before it was seen');
    await tab.evaluate(() => { ahead = false; });
    await app.until('the page', (h) => h.length === 1);
  },

  async 'the lines of the README'(w) {
    const readme = readFileSync(join(__dirname, '..', '..', 'README.md'), 'utf8');
    const section = readme.split('\n## ').find((s) => s.startsWith('Put it on your site\n'));
    const blocks = (language) => [...section.matchAll(new RegExp('```' + language + '\\n([^]*?)```', 'g'))].map((m) => m[1]);
    const [[html], js] = [blocks('html'), blocks('js')];
    w.assert.ok(html.split('\n').length <= 8 && js.length > 0);
    const lines = (app) => html.replaceAll('https://track.shop.example', w.track).replaceAll('KEY', app.key);
    for (const mode of ['cookieless', 'exempt', 'consent']) {
      const app = await w.app({ mode });
      const v = await w.visitor();
      const body = js.map((block) => `<script>${block}</script>`).join('');
      const tab = await v.open(w.page(app, { snippet: lines(app), body }));
      const hits = await app.until('what the page says', (h) => ['page', 'event signup', 'product add to cart'].every((t) => types(h).includes(t)));
      w.assert.equal(hits.filter((h) => h.name === 'signup').length, 1);
      const user = await w.until('the person', () => app.user('user_id=u1'));
      w.assert.equal(user.email, 'ann@shop.example');
      w.assert.equal(await tab.evaluate(() => document.cookie.includes('__ca__consent=1.0.NaN')), true, mode);
      w.assert.deepEqual(v.errors, []);
      await v.context.close();
    }
  },

  async 'the demo page shows hits arriving'(w) {
    const v = await w.visitor({ viewport: { width: 360, height: 740 } });
    const complaints = [];
    const hosts = new Set();
    v.context.on('console', (m) => m.type() === 'error' && complaints.push(m.text()));
    v.context.on('request', (r) => hosts.add(new URL(r.url()).origin));
    const tab = await v.open('/demo', w.collector);
    const kinds = () => tab.$$eval('#list .kind', (all) => all.map((e) => e.textContent));
    await w.until('the page hit', async () => (await kinds()).includes('page'));
    for (const name of ['event', 'product', 'route']) await tab.click(`[data-do=${name}]`);
    await tab.focus('[name=topic]');
    await tab.keyboard.press('Enter'); // the form, without a mouse
    for (const kind of ['event', 'product', 'form']) await w.until(kind, async () => (await kinds()).includes(kind));
    await w.until('the route', async () => (await kinds()).filter((k) => k === 'page').length === 2);
    const list = await tab.textContent('#list');
    w.assert.ok(list.includes('"topic":"shoes"') && !list.includes('secret'), list);
    w.assert.equal(await tab.textContent('#mode'), 'cookieless');
    const says = (text) => w.until(text, async () => (await tab.textContent('#said')).startsWith(text));
    await tab.click('[data-do=event]');
    await says('Sent the event');
    await tab.click('[data-do=withdraw]');
    await tab.click('[data-do=product]');
    await says('Nothing was sent: consent is withdrawn');
    await tab.click('[data-do=grant]');
    await tab.click('form button');
    await says('Sent the form');
    await tab.click('[data-do=ignore]');
    await tab.click('form button');
    await says('Nothing was sent: this browser is ignored');
    w.assert.ok((await v.cookies()).__spoor_ignore);
    await tab.click('[data-do=track]');
    await tab.waitForFunction(() => !document.cookie.includes('__spoor_ignore') && window.UE?.destroy);
    await tab.evaluate(() => UE.destroy());
    await tab.click('[data-do=identify]');
    await says('Nothing was sent.');
    w.assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'it is wider than a phone');
    w.assert.deepEqual([...hosts].filter((h) => h !== 'null'), [w.collector]);
    w.assert.deepEqual(complaints, []);
    w.assert.deepEqual(v.errors, []);
  },
};
