// The core of the widget: page hits, routes of single-page applications,
// events, time on page, consent, and sending all of it.
//
// The script decides nothing about privacy. The collector knows the mode of
// the app and says with every reply what the device may keep (see serveWidget
// in package ingest); before a reply has said so nothing is kept. A page that
// says data-mode="consent" spares the first question: before consent nothing
// is sent. An event leaves the queue when the collector has answered for it,
// so whatever is sent twice is sent with the same id.
//
// Names that end in _ are shared with more.js and shortened by the build.

const eventsMax = 100
const charsMax = 1e4 // of an event, of its attributes and of a batch: browsers stop keepalive requests and beacons at 64 KiB

const d = document

const keyCookie = '__ca__chat'
const choiceCookie = '__ca__consent'
const ignoreCookie = '__spoor_ignore'
const categories = ['analytics', 'marketing', 'geolocation']

const script = d.currentScript
const UE = (window.UE ||= {})
let want = window.civchat // the first events wait for the second file
const conf = (window.civchat ||= {}) // sites define setters on it: it is never replaced

const key = script?.dataset.key || conf.apiKey || console.warn('spoor: no data-key')

// prefix begins the names of what the pages of this app keep in localStorage.
const prefix = '__spoor.' + key + '.'

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

// Without a domain the cookie is this host's alone.
const setCookie = (name, value, days, domain) => {
  d.cookie = name + '=' + value + ';path=/;samesite=lax;max-age=' + days * 864e2 + ';domain=' + [domain] + (/^https/.test(location) ? ';secure' : '')
}

// A cookie that the collector has set may belong to any domain above this host.
const dropCookie = (name) => {
  setCookie(name, '', 0)
  location.hostname.split('.').map((_, i, parts) => setCookie(name, '', 0, parts.slice(i).join('.')))
}

// mint makes the page-load part of ids: 16 random characters, in memory alone.
const mint = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => (b % 36).toString(36)).join('')

// mode is the app's; unknown until the first reply, unless the page says it.
let mode = script?.dataset.mode || conf.mode
let choice = {} // consent by category; empty: nothing was said
let off // 1: ignored, destroyed or without a write key; 2: refused
let busy // a request is on its way
let hinted // it was asked what the device is
let timer
let fails = 0
let count = 0
let lost = 0 // events that were too large or found no room since the last one was taken
let sent = [] // events that are on their way

// core is what more.js works with as well. kept_ says that the device may keep
// things, by a reply, now or when the cookie came; errors_ that the app wants
// JavaScript errors.
const core = {
  conf_: conf,
  on_: on,
  quiet_: quiet,
  page_: mint(),
  queue_: [], // events without a verdict, oldest first
  until_: 0, // send nothing before this time
}

// save is the work of more.js, which is loaded where the device may keep things.
core.save_ = quiet

// clear takes from this device what it may not keep.
const clear = quiet(() => {
  dropCookie(keyCookie)
  core.kept_ = 0
  for (const k in localStorage) if (k.startsWith(prefix)) delete localStorage[k]
})

// silent says that nothing may be sent, as before consent where it is asked for.
const silent = () => off || !(choice.analytics ?? mode != 'consent')

const add = (core.add_ = (event) => {
  if (off || choice.analytics === false) return
  const e = { id: core.page_ + '-' + ++count, time: Date.now(), url: place(), user_id: conf.user_id, ...event }
  if (lost) e.properties = { ...e.properties, spoor_dropped: lost }
  const text = JSON.stringify(e)
  if (text.length > charsMax) return lost++
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
  clear()
  core.queue_ = queue
  core.page_ = mint()
})

const later = (core.later_ = () => {
  // They are here long before the first events go out.
  hinted ||= !silent() && navigator.userAgentData?.getHighEntropyValues(['fullVersionList', 'model', 'platformVersion']).then((h) => Object.assign(common.hints, h), quiet)
  timer ||= setTimeout(
    quiet(() => {
      timer = 0
      look()
      send()
    }),
    Math.max(50, core.until_ - Date.now())
  )
})

// send sends what there is, oldest first: by fetch, whose reply is waited for,
// or, as the last thing a page can do, by beacon.
const send = (core.send_ = (last) => {
  if (silent()) return
  if (!last) {
    if (busy) return
    if (Date.now() < core.until_ || d.prerendering) return later()
    if (want) return load().then(later)
  }
  const asked = choice.analytics
  const batch = []
  const ids = []
  let owner
  for (const e of keyed()) {
    if (last && sent.includes(e.id)) continue
    // A reply names the key of one visitor, so no batch has events of two.
    const of = e.key || e.id.slice(0, 16)
    if ((owner ||= of) != of) break
    if (ids[0] && JSON.stringify([batch, e]).length > charsMax) break
    ids.push(e.id)
    batch.push({ ...common, consent: choice, ...e })
  }
  if (!owner) return
  sent.push(...ids)
  const address = new URL('w?k=' + key, script.src)
  const body = JSON.stringify({ sent_at: Date.now(), batch })
  if (last) return navigator.sendBeacon(address, body)
  busy = 1
  fetch(address, { method: 'POST', body, keepalive: true, credentials: 'include' })
    .then(async (r) => {
      const wait = r.headers.get('Retry-After')
      if (wait || r.status > 501) return failed(wait)
      if (!r.ok) {
        off = 2 // the next would be refused as well
        console.warn('spoor:', await r.text())
        return take(ids)
      }
      const reply = await r.json()
      fails = 0
      mode = reply.mode
      // What lacks consent waits for it, unless it was sent with consent.
      take(ids.filter((_, i) => asked || reply.results[i].reason != 'consent_missing'))
      if (owner != (cookie(keyCookie) || core.page_)) return // withdrawn or reset meanwhile: the key is another's
      if ((core.errors_ = reply.errors) || reply.key) load()
      if ((core.kept_ = reply.key)) {
        // The collector may have set it with this reply; it is never renewed.
        // Another that stands there is none of the collector's.
        if (cookie(keyCookie) != reply.key) {
          dropCookie(keyCookie)
          setCookie(keyCookie, reply.key, reply.days)
        }
        conf.userKey = reply.key
      } else if (reply.keep) clear()
    })
    .catch(failed)
    .then(() => later((busy = 0)))
})

// failed puts the next try off, ever longer, or as long as the collector asks.
const failed = (seconds) => {
  core.until_ = Date.now() + 1e3 * (+seconds || 2 ** Math.min(fails++, 6) * (1 + Math.random()))
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
let loading
const load = () =>
  (loading ||= import(new URL('widget-more.js?' + fails, script.src))
    .then((more) => more.default(core, prefix, (want = 0)))
    .catch(() => failed((loading = 0))))

// place is what makes a page: after a plain # follows a place on it, after #/
// or #! a route.
const place = () => location.href.replace(/#(?![/!]).*/, '')

let href // of the last page hit
let since // when the page was last visible, or 0
let depth // percent that came into view

const measure = () => {
  depth = Math.max(depth, Math.min(100, ((100 * (scrollY + innerHeight)) / d.documentElement.scrollHeight) | 0))
}

// arrive and leave are for each time that a page is visible: the seconds of
// its events page_leave add up.
const arrive = () => {
  since = !d.hidden && Date.now()
}

const leave = () => {
  measure()
  if (since) {
    add({ type: 'event', name: 'page_leave', url: href, properties: { seconds: ((Date.now() - since) / 1e3) | 0, scroll: depth } })
  }
  since = 0
}

const view = (core.view_ = () => {
  leave()
  add({ type: 'page', title: d.title, referrer: href || d.referrer, url: (href = place()) })
  depth = 0
  arrive()
})

// look asks whether there is anything on the page that is the business of
// more.js: a form that is to be sent, a link that leads away or to a file; the
// rest of such an address has a dot or a colon.
const look = () => {
  if (d.querySelector('[data-spoor-form]') || /[.:]/.test([...d.links].join().replaceAll(location.origin, ''))) load()
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

// consent takes what the visitor has said, by category, and keeps it if it is
// new. What the page says wins over what was kept.
const consent = (said) => {
  if (off == 1) return
  for (const c of categories)
    if (said[c] === !!said[c] && said[c] !== choice[c]) {
      choice[c] = said[c]
      setCookie(choiceCookie, categories.map((c) => +choice[c]).join('.'), 395)
    }
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
  if (/#spoor=ignore/.test(location)) optOut()
  if (/#spoor=track/.test(location)) optIn()
}

const userengage = (name, properties) => {
  if (name == 'product_event') add({ type: 'product', name: properties.event_type, properties })
  if (name.startsWith('event.')) add({ type: 'event', name: name.slice(6), properties })
}

const common = {
  resolution: screen.width + 'x' + screen.height,
  language: navigator.language,
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  hints: { touch_points: navigator.maxTouchPoints },
}

const start = () => {
  cookie(choiceCookie)
    ?.split('.')
    .map((said, i) => (choice[categories[i]] = [false, true][said]))
  if (conf.consent) consent(conf.consent)
  if ((core.kept_ = !silent() && cookie(keyCookie)) || want) load()
  for (const m of ['pushState', 'replaceState']) {
    const real = history[m]
    history[m] = (...a) => {
      real.apply(history, a)
      quiet(moved)()
    }
  }
  on(d, 'visibilitychange', () => {
    d.hidden ? hide() : later(arrive())
  })
  on(window, 'pagehide', () => hide(1))
  on(window, 'pageshow', (event) => event.persisted && view())
  on(window, 'scroll', measure)
  on(d, 'focusin', look)
  on(d, 'pointerdown', look)
  view()
}

quiet(() => {
  if (UE.optOut) return // once is enough
  UE.consent = quiet(consent)
  UE.optOut = quiet(optOut)
  UE.optIn = quiet(optIn)
  UE.destroy = quiet(() => {
    hide()
    off = 1
  })
  for (const m of ['pageHit', 'resetAuth']) UE[m] = (o = {}) => off || load().then(quiet((more) => more[m](o)))
  const early = window.userengage?.q
  window.userengage = quiet(userengage)
  sign()
  off = cookie(ignoreCookie) || !key
  if (!off) start()
  on(window, 'popstate', moved)
  early?.map((a) => userengage(...a))
})()
