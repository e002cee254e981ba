// The core of the widget: page hits, routes of single-page applications,
// events, time on page, consent, and sending all of it.
//
// The script decides nothing about privacy. The collector knows the mode of
// the app and says with every reply what the device may keep (see serveWidget
// in package ingest); before a reply has said so nothing is kept. An event leaves the queue when the collector
// has answered for it, so whatever is sent twice is sent with the same id.
//
// Names that end in _ are shared with more.js and shortened by the build.

const eventsMax = 100
const eventCharsMax = 15e3
const batchCharsMax = 15e3 // at most 45 kB: browsers stop keepalive requests and beacons at 64 KiB

const w = window
const d = document
const l = location
const n = navigator

const keyCookie = '__ca__chat'
const choiceCookie = '__ca__consent'
const ignoreCookie = '__spoor_ignore'
const categories = ['analytics', 'marketing', 'geolocation']


const script = d.currentScript
const UE = (w.UE ||= {})
const conf = (w.civchat ||= {}) // sites define setters on it: it is never replaced

const key = script?.dataset.key || conf.apiKey

// What goes wrong in here must not reach the page. Where a function has to
// stand that does nothing, quiet itself stands.
const quiet = (f) =>
  (...a) => {
    try {
      return f(...a)
    } catch {}
  }

const on = (target, type, f) => target.addEventListener(type, quiet(f), true)

const cookie = (name) => ('; ' + d.cookie).split('; ' + name + '=')[1]?.split(';')[0]

const setCookie = (name, value, days, domain = '') => {
  d.cookie = name + '=' + value + ';path=/;samesite=lax;max-age=' + days * 864e2 + ';domain=' + domain + (/^https/.test(l) ? ';secure' : '')
}

// A cookie that the collector has set may belong to any domain above this host.
const dropCookie = (name) => {
  setCookie(name, '', 0)
  l.hostname.split('.').map((_, i, parts) => setCookie(name, '', 0, parts.slice(i).join('.')))
}

// mint makes the page-load part of ids: 16 random characters, in memory alone.
const mint = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => (b % 36).toString(36)).join('')

let mode // of the app; unknown until the first reply
let choice = {} // consent by category; empty: nothing was said
let off // ignored, destroyed or refused
let busy // a request is on its way
let timer
let fails = 0
let count = 0
let lost = 0 // events that were too large or found no room since the last one was taken
let sent = [] // events that are on their way

// core is what more.js works with as well. told_ says that the collector asked
// for the wait, kept_ that the device may keep things, by a reply, now or when
// the cookie came.
const core = {
  conf_: conf,
  on_: on,
  quiet_: quiet,
  page_: mint(),
  queue_: [], // events without a verdict, oldest first
  until_: 0, // send nothing before this time
}

// save and unsave are the work of more.js, which is loaded where the device
// may keep things.
core.save_ = core.unsave_ = quiet

const add = (core.add_ = (event) => {
  if (off || choice.analytics === false) return
  const e = { id: core.page_ + '-' + ++count, time: Date.now(), url: place(), user_id: conf.user_id, ...event }
  if (lost) e.properties = { ...e.properties, spoor_dropped: lost }
  const text = JSON.stringify(e)
  if (text.length > eventCharsMax) return lost++
  lost = 0
  core.queue_.push(JSON.parse(text)) // the page may change its object later
  while (core.queue_[eventsMax]) lost += 1 + (core.queue_.shift().properties?.spoor_dropped || 0)
  later()
})

// keyed gives events the key that they belong to, before it may change.
const keyed = (core.keyed_ = () => core.queue_.map((e) => ({ key: cookie(keyCookie), ...e })))

// forget removes the visitor from this device. What comes later is another's.
// What waits is lost, or becomes queue.
const forget = (core.forget_ = (queue = []) => {
  dropCookie(keyCookie)
  core.unsave_()
  core.queue_ = queue
  core.kept_ = 0
  core.page_ = mint()
})

const later = (core.later_ = () => {
  timer ||= setTimeout(
    quiet(() => {
      timer = 0
      look()
      send()
    }),
    Math.max(50, core.until_ - Date.now())
  )
})

// A reply names the key of one visitor, so no batch has events of two.
const ownerOf = (e) => e.key || e.id.slice(0, 16)

// send sends what there is, oldest first: by fetch, whose reply is waited for,
// or, as the last thing a page can do, by beacon.
const send = (core.send_ = (last) => {
  if (off || (mode == 'consent' && !choice.analytics)) return
  if (!last) {
    if (busy) return
    if (Date.now() < core.until_) return later()
    if (want) return load().then(later)
  }
  const asked = choice.analytics
  const batch = []
  const texts = []
  let size = 0
  let owner
  for (const e of keyed()) {
    if (last && sent.includes(e.id)) continue
    if ((owner ||= ownerOf(e)) != ownerOf(e)) break
    const text = JSON.stringify({ ...common, consent: choice, ...e })
    if ((size += text.length) > batchCharsMax) break
    batch.push(e.id)
    texts.push(text)
  }
  if (!size) return
  sent.push(...batch)
  const address = new URL('w?k=' + key, script.src)
  const body = '{"sent_at":' + Date.now() + ',"batch":[' + texts + ']}'
  if (last) return n.sendBeacon(address, body)
  busy = 1
  fetch(address, { method: 'POST', body, keepalive: true, credentials: 'include' })
    .then(async (r) => {
      const wait = r.headers.get('Retry-After')
      if (wait || r.status > 501) return failed(wait)
      if (!r.ok) {
        off = 1 // the next would be refused as well
        console.warn('spoor:', await r.text())
        return take(batch)
      }
      const reply = await r.json()
      fails = 0
      mode = reply.mode
      // What lacks consent waits for it, unless it was sent with consent.
      take(batch.filter((_, i) => asked || reply.results[i].reason != 'consent_missing'))
      if (owner != (cookie(keyCookie) || core.page_)) return // withdrawn or reset meanwhile: the key is another's
      if (reply.key) {
        core.kept_ = 1
        // The collector may have set it with this reply; it is never renewed.
        cookie(keyCookie) || setCookie(keyCookie, reply.key, reply.days)
        conf.userKey = cookie(keyCookie)
        load()
      } else if (reply.keep) {
        dropCookie(keyCookie)
        core.unsave_()
        core.kept_ = 0
      }
      if (reply.errors) load().then(quiet((more) => more.errors_()))
    })
    .catch(failed)
    .then(() => {
      busy = 0
      later()
    })
})

// failed puts the next try off, ever longer, or as long as the collector asks.
const failed = (seconds) => {
  core.told_ = +seconds
  core.until_ = Date.now() + 1e3 * (core.told_ || 2 ** Math.min(fails++, 6) * (1 + Math.random()))
  sent = []
  core.save_()
}

// take removes events about which nothing more is to be done.
const take = (ids) => {
  core.queue_ = core.queue_.filter((e) => !ids.includes(e.id))
  sent = []
  core.save_()
}

// load loads the second file, which holds what not every page uses. It gives
// nothing if that fails.
let want // the first events wait for it
let loading
const load = () =>
  (loading ||= import(new URL('widget-more.js?' + fails, script.src))
    .then((more) => more.default(core, (want = 0)))
    .catch(() => failed((loading = 0))))

// place is what makes a page: after a plain # follows a place on it, after #/
// or #! a route.
const place = () => l.href.replace(/#(?![/!]).*/, '')

let href // of the last page hit
let came = d.referrer
let since // when the page was last visible, or 0
let depth // percent that came into view

const measure = () => {
  depth = Math.max(depth, Math.min(100, Math.round((100 * (scrollY + innerHeight)) / d.documentElement.scrollHeight)))
}

// arrive and leave are for each time that a page is visible: the seconds of
// its events page_leave add up.
const arrive = () => {
  since = !d.hidden && Date.now()
}

const leave = () => {
  if (since) {
    measure()
    add({ type: 'event', name: 'page_leave', url: href, properties: { seconds: Math.round((Date.now() - since) / 1e3), scroll: depth } })
  }
  since = 0
}

const view = (core.view_ = () => {
  leave()
  href = place()
  add({ type: 'page', title: d.title, referrer: came })
  came = href
  depth = 0
  arrive()
})

// look asks whether there is anything on the page that is the business of
// more.js: a form that is to be sent, a link that leads away or to a file.
const look = () => {
  if (d.querySelector('[data-spoor-form]') || [...d.links].some((a) => a.host != l.host || /\.\w{2,4}$/.test(a.pathname))) load()
}

// Routers set the title after the address, and the address more than once.
const moved = () => {
  sign()
  setTimeout(
    quiet(() => href != place() && view()),
    20
  )
}

const hide = (free) => {
  leave()
  send(1)
  core.save_(free)
}

// consent takes what the visitor has said, by category, and keeps it.
const consent = (said) => {
  for (const c of categories) if (said[c] === !!said[c]) choice[c] = said[c]
  setCookie(choiceCookie, categories.map((c) => +choice[c]).join('.'), 395)
  if (choice.analytics === false) forget()
  later()
}

const optOut = () => {
  setCookie(ignoreCookie, 1, 395)
  forget()
  off = 1
}

// optIn holds from the next page load on.
const optIn = () => dropCookie(ignoreCookie)

// sign obeys links to #spoor=ignore and #spoor=track.
const sign = () => {
  if (/#spoor=ignore/.test(l)) optOut()
  if (/#spoor=track/.test(l)) optIn()
}

const userengage = (name, properties) => {
  if (name == 'product_event') add({ type: 'product', name: properties.event_type, properties })
  if (name.startsWith('event.')) add({ type: 'event', name: name.slice(6), properties })
}

const common = {
  resolution: screen.width + 'x' + screen.height,
  language: n.language,
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  hints: { touch_points: n.maxTouchPoints },
}

const start = () => {
  const said = cookie(choiceCookie)?.split('.') || []
  categories.map((c, i) => (choice[c] = [false, true][said[i]]))
  if (conf.consent) consent(conf.consent)
  if ((core.kept_ = cookie(keyCookie))) load()
  want = Object.keys(conf).some((k) => k != 'apiKey')
  for (const m of ['pushState', 'replaceState']) {
    const real = history[m]
    history[m] = (...a) => {
      real.apply(history, a)
      quiet(moved)()
    }
  }
  on(w, 'popstate', moved)
  on(d, 'visibilitychange', () => {
    if (d.hidden) return hide()
    arrive()
    later()
  })
  on(w, 'pagehide', () => hide(1))
  on(w, 'pageshow', (event) => event.persisted && view())
  on(w, 'scroll', measure)
  on(d, 'focusin', look)
  on(d, 'pointerdown', look)
  // They are here long before the first events go out.
  n.userAgentData?.getHighEntropyValues(['fullVersionList', 'model', 'platformVersion']).then((h) => Object.assign(common.hints, h), quiet)
  view()
}

const main = () => {
  if (UE.optOut) return // once is enough
  UE.consent = quiet(consent)
  UE.optOut = quiet(optOut)
  UE.optIn = quiet(optIn)
  UE.destroy = quiet(() => {
    hide()
    off = 1
  })
  for (const m of ['pageHit', 'resetAuth']) UE[m] = (o = {}) => load().then(quiet((more) => more[m](o)))
  const early = w.userengage?.q
  w.userengage = quiet(userengage)
  sign()
  off = cookie(ignoreCookie)
  if (!off) d.prerendering ? on(d, 'prerenderingchange', start) : start()
  on(w, 'hashchange', moved)
  early?.map((a) => userengage(...a))
}

quiet(main)()
