// Shows hits as they are stored. What a hit holds is set as text, never as
// markup, because anybody can send one.
const linesMax = 200
const lineMax = 1 << 20 // of what has arrived without a line's end

const state = document.getElementById('state')
const list = document.getElementById('hits')

function show(line) {
  const hit = JSON.parse(line)
  const entry = document.createElement('li')
  entry.textContent = [hit.time, hit.type, hit.name, hit.url, hit.city].filter(Boolean).join(' · ')
  list.prepend(entry)
  while (list.childElementCount > linesMax) list.lastElementChild.remove()
}

async function follow() {
  const reply = await fetch('/app/api/tail', { cache: 'no-store' })
  if (reply.status === 401) return location.assign('/app/')
  if (!reply.ok) throw new Error(`the server answered ${reply.status}`)
  state.textContent = 'Waiting for hits.'
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = ''; ;) {
    const { value, done } = await reader.read()
    if (done) throw new Error('the connection has ended')
    const lines = (rest + value).split('\n')
    rest = lines.pop().slice(0, lineMax)
    for (const line of lines) if (line) show(line)
    if (list.childElementCount) state.textContent = `The newest ${list.childElementCount} hits.`
  }
}

async function keep() {
  for (let wait = 1; ; wait = Math.min(2 * wait, 60)) {
    try {
      await follow()
      return
    } catch (trouble) {
      state.textContent = `${trouble.message}; trying again in ${wait} s.`
      await new Promise(done => setTimeout(done, wait * 1000))
    }
  }
}

keep()
