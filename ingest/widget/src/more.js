// The second file of the widget: attributes of persons, the page API of
// existing sites, forms, JavaScript errors, and events that another page has
// left behind. core.js loads it where one of these is used.

const attributesCharsMax = 1e4
const valueCharsMax = 1000
const errorsMax = 10

// Fields that never leave the page, by what they and their labels are called.
// Short words count where they end, or else shipping had a pin in it.
const secretField = /card|cc-|cvc|cvv|cv2|csc|iban|ssn|pesel|pass|pwd|has[łl]o|(pin|otp)(?![a-z])|(pin|otp).?code|one-time|token|secret|api.?key/i

// What is no attribute in the configuration of existing sites.
const noAttribute = /^(apiKey|user_id|userKey|consent|mode|state)$/

// hasCardNumber finds card numbers, of 12 to 19 digits of which the last
// checks the others, in any text and however they are parted. One in ten other
// numbers of that length looks the same and is left out as well.
const hasCardNumber = (text) => {
  for (const digits of text.normalize('NFKC').replace(/[^\p{L}\p{N}]/gu, '').match(/\d{12,}/g) || [])
    for (let end = 12; end <= digits.length; end++) {
      let sum = 0
      for (let i = 1; i <= Math.min(19, end); i++) {
        const n = digits[end - i] * (2 - (i % 2))
        sum += n > 9 ? n - 9 : n
        if (i > 11 && sum % 10 == 0) return true
      }
    }
  return false
}

// What was a password once stays one, also while the page shows it.
const passwords = new WeakSet()
const remember = () => document.querySelectorAll('[type=password]').forEach((f) => passwords.add(f))

const nameOf = (f) => {
  const labels = Array.from(f.labels || [], (label) => label.textContent)
  const names = [f.name, f.id, f.getAttribute('autocomplete'), f.getAttribute('aria-label'), f.placeholder, ...labels]
  return names.join(' ').replace(/([a-z])([A-Z])/g, '$1 $2')
}

const readForm = (form) => {
  const fields = {}
  for (const f of form.elements) {
    if (!f.name || f.disabled || /^(password|hidden|file|submit|button|reset|image|fieldset|output)$/.test(f.type)) continue
    if (passwords.has(f) || secretField.test(nameOf(f))) continue
    if (/^(checkbox|radio)$/.test(f.type) && !f.checked) continue
    const values = f.selectedOptions ? Array.from(f.selectedOptions, (o) => o.value) : [f.value]
    for (const v of values) {
      if (!v || hasCardNumber(v.slice(0, 2 * valueCharsMax))) continue // a number may stand across the cut
      const text = v.slice(0, valueCharsMax)
      fields[f.name] = f.name in fields ? [].concat(fields[f.name], text) : text
    }
  }
  return fields
}

// Files that are worth an event of their own.
const file = /\.(pdf|zip|gz|dmg|exe|msi|apk|deb|rpm|csv|docx?|xlsx?|pptx?|mp[34])$/i

// Each page has an entry of its own in localStorage: no two write the same.
const entryCharsMax = 64e3
const leaseMs = 18e4 // for so long no other page touches the entry of one that lives

// read gives an entry, whatever stands there.
const read = (text) => {
  try {
    const { until, events } = JSON.parse(text)
    return { until, events: [].concat(events).filter((e) => e?.id) }
  } catch {
    return { events: [] }
  }
}

export default (core, prefix) => {
  const conf = core.conf_
  const { on_: on, add_: add, quiet_: quiet } = core

  // tell brings attributes of the person to the collector, with an event of
  // theirs that is not on its way yet.
  const tell = quiet((o) => {
    const attributes = {}
    for (const k of Object.keys(o)) if (!noAttribute.test(k) && typeof o[k] != 'function') attributes[k] = o[k]
    const text = JSON.stringify(attributes)
    if (text == '{}') return
    if (text.length > attributesCharsMax) return console.warn('spoor: too large: attributes')
    const e = core.queue_.find((e) => e.type == 'page' && !e.attributes && e.id.startsWith(core.page_) && e.user_id == conf.user_id)
    if (e) e.attributes = JSON.parse(text)
    else add({ type: 'identify', attributes })
  })

  let saved = [] // ids in the entry of this page; none: there is no entry
  let adopted
  let freed // the page has gone; browsers say so before they say that it is hidden

  // save keeps the queue for a page that comes later; an owner that goes gives
  // it free at once.
  core.save_ = quiet((free) => {
    if (!core.kept_) return
    if (!adopted) adopt()
    const events = core.keyed_()
    if (!events[0] && !saved[0]) return
    const until = (freed ||= free) ? 0 : Math.max(core.until_, Date.now()) + leaseMs
    let text
    while ((text = JSON.stringify({ until, events })).length > entryCharsMax) events.shift()
    if (events[0]) localStorage[prefix + core.page_] = text
    else localStorage.removeItem(prefix + core.page_)
    saved = events.map((e) => e.id)
  })

  const entries = () => Object.keys(localStorage).filter((k) => k.startsWith(prefix))

  // adopt takes over what pages that are gone have left. Of two pages that look
  // at once one finds an entry: it goes when it is read, and where there are
  // locks only one page looks.
  const adopt = () => {
    adopted = 1
    if (navigator.locks) navigator.locks.request('spoor', { ifAvailable: true }, (lock) => lock && take()).catch(() => {})
    else take()
  }

  const take = quiet(() => {
    for (const k of entries()) {
      if (k == prefix + core.page_) continue
      const entry = read(localStorage[k])
      if (entry.until > Date.now()) continue
      localStorage.removeItem(k)
      core.queue_.unshift(...entry.events) // they are older
    }
    core.save_()
    core.later_()
  })

  let reported = 0
  const report = (message, source, line) => {
    if (!core.errors_ || !message || reported++ >= errorsMax) return
    // Addresses and queries in it may be persons'.
    const told = String(message).slice(0, 1000).replace(/\S+(@|%40)\S*|[?#]\S*=\S*|\?\S+/g, '…')
    const properties = { message: told.slice(0, 300), source: String(source || '').split(/[?#]/)[0].slice(0, 300), line }
    add({ type: 'event', name: 'js_error', properties })
  }

  on(window, 'error', (e) => report(e.message, e.filename, e.lineno))
  on(window, 'unhandledrejection', (e) => report(e.reason?.message ?? e.reason))

  remember()
  on(document, 'focusin', remember)
  on(document, 'pointerdown', remember)
  on(document, 'submit', (event) => {
    const form = event.target
    const name = form.getAttribute('data-spoor-form')
    if (name != null) add({ type: 'form', name: name || form.id || form.getAttribute('name') || 'form', properties: readForm(form) })
  })

  const clicked = (event) => {
    const a = event.target.closest('a[href]')
    if (event.button > 1 || !/^http/.test(a.protocol)) return
    const name = a.hasAttribute('download') || file.test(a.pathname) ? 'download' : a.host != location.host && 'outbound'
    // Without query and fragment, in which anything may stand.
    if (name) add({ type: 'click', name, properties: { url: a.origin + a.pathname } })
  }
  on(document, 'click', clicked)
  on(document, 'auxclick', clicked)

  // What failed without a network says nothing of the collector; what it has
  // asked for before holds.
  let asked = 0
  on(window, 'offline', () => (asked = core.until_))
  on(window, 'online', () => {
    core.until_ = asked
    core.send_()
  })
  on(window, 'pageshow', (event) => {
    freed = 0
    // What another page has taken meanwhile is its.
    if (event.persisted && core.kept_ && saved[0] && !localStorage[prefix + core.page_]) core.queue_ = core.queue_.filter((e) => !saved.includes(e.id))
  })

  tell(conf)
  if (core.kept_) adopt()
  if (typeof conf.onLoad == 'function') setTimeout(() => conf.onLoad()) // its errors are the page's own

  return {
    pageHit(o) {
      if (o.user_id) conf.user_id = o.user_id
      core.view_()
      tell(o)
    },
    // What waits keeps its key; what follows is another visitor's.
    resetAuth(o) {
      core.forget_(core.keyed_())
      for (const k of Object.keys(conf)) if (k == 'user_id' || (!noAttribute.test(k) && typeof conf[k] != 'function')) delete conf[k]
      if (o.user_id) conf.user_id = o.user_id
      add({ type: 'identify' })
      tell(o)
    },
  }
}
