// The demo page: each button is what a site would do with the widget, and the
// list is what the collector has stored.

const $ = (id) => document.getElementById(id)

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
    return 'Sent the event demo_button.'
  },
  product() {
    userengage('product_event', { product_id: 'shoes-7', event_type: 'add to cart', name: 'Shoes', price: 59.9 })
    return 'Sent the product event add to cart.'
  },
  identify() {
    UE.pageHit({ user_id: 'demo-visitor', email: 'visitor@shop.example', first_name: 'Demo' })
    return 'Said who I am: demo-visitor.'
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
    $('said').textContent = window.UE?.consent ? doings[button.dataset.do]() : 'The widget is not here: something blocks it.'
  })
}

document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault()
  $('said').textContent = 'Sent the form newsletter, without its password.'
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
