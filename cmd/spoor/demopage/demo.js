// The demo page: each button is what a site would do with the widget, and the
// list is what the collector has stored.

const $ = (id) => document.getElementById(id)

// sent says what was sent as soon as the collector has taken it. The widget
// sends within a moment, or not at all.
const waitMs = 2000
let asked = 0
function sent(text) {
  const mine = ++asked
  const since = performance.now()
  const gone = (e) => /\/w\?k=/.test(e.name) && e.startTime >= since && e.responseStatus === 200
  const look = () => {
    if (mine !== asked) return
    if (performance.getEntriesByType('resource').some(gone)) return say(text)
    if (performance.now() < since + waitMs) return setTimeout(look, 50)
    if (/__spoor_ignore=1/.test(document.cookie)) return say('Nothing was sent: this browser is ignored.')
    if (/__ca__consent=0/.test(document.cookie)) return say('Nothing was sent: consent is withdrawn.')
    say('Nothing was sent.')
  }
  look()
  return '…'
}

function say(text) {
  $('said').textContent = text
}

// The browser keeps the first 250 requests only, unless told otherwise.
performance.setResourceTimingBufferSize(10000)

let routes = 0
const doings = {
  route() {
    routes++
    document.title = 'Route ' + routes + ' of the spoor demo'
    history.pushState(null, '', '/demo#/route/' + routes)
    return 'Went to route ' + routes + '.'
  },
  event() {
    userengage('event.demo_button', { shoes: 2, colour: 'green' })
    return sent('Sent the event demo_button.')
  },
  product() {
    userengage('product_event', { product_id: 'shoes-7', event_type: 'add to cart', name: 'Shoes', price: 59.9 })
    return sent('Sent the product event add to cart.')
  },
  identify() {
    UE.pageHit({ user_id: 'demo-visitor', email: 'visitor@shop.example', first_name: 'Demo' })
    return sent('Said who I am: demo-visitor.')
  },
  reset() {
    UE.resetAuth({})
    return 'Logged out: what follows is another visitor’s.'
  },
  grant() {
    UE.consent({ analytics: true, marketing: false })
    return 'Gave consent to analytics.'
  },
  withdraw() {
    UE.consent({ analytics: false, marketing: false })
    return 'Withdrew consent: nothing is sent until it is given again.'
  },
  ignore() {
    UE.optOut()
    return 'This browser is ignored from now on.'
  },
  track() {
    UE.optIn()
    location.reload()
  },
}

for (const button of document.querySelectorAll('[data-do]')) {
  button.addEventListener('click', () => {
    // Whoever blocks the script has a page that works all the same.
    asked++ // what was said before is of no interest any more
    say(window.UE?.consent ? doings[button.dataset.do]() : 'The widget is not here: something blocks it.')
  })
}

document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault()
  say(sent('Sent the form newsletter, without its password.'))
})

const shownMax = 50

const element = (name, className, text) => {
  const e = document.createElement(name)
  e.className = className
  e.textContent = text
  return e
}

function show(hit) {
  const row = document.createElement('li')
  const time = element('time', '', new Date(hit.received).toLocaleTimeString([], { hour12: false }))
  time.dateTime = new Date(hit.received).toISOString()
  row.append(
    time,
    element('span', 'kind', hit.type),
    element('span', 'what', [hit.name || hit.title, hit.url].filter(Boolean).join(' · ')),
    element('span', 'by', [hit.place, hit.device, hit.properties && JSON.stringify(hit.properties)].filter(Boolean).join(' · '))
  )
  $('list').prepend(row)
  while ($('list').children.length > shownMax) $('list').lastChild.remove()
  $('none').hidden = true
}

let after = 0
async function poll() {
  try {
    const reply = await (await fetch('/demo/hits?after=' + after)).json()
    $('mode').textContent = reply.mode
    after = reply.last
    reply.hits.forEach(show)
  } catch {
    // The collector is away; the list goes on when it is back.
  }
  setTimeout(poll, 500)
}
poll()
