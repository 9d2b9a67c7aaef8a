// What both scripts share: words come as lines on stdin, the first of them JSON, and one line of JSON goes out.

import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** The next line of stdin. */
export async function line() {
  return (await lines.next()).value
}

/** Run the function that the command line names with what the first line says, and print what it returns. */
export async function main(verbs) {
  const words = JSON.parse(await line())
  const found = await verbs[process.argv[2]](words)
  // Not all of them let go of everything that keeps a process alive.
  process.stdout.write(JSON.stringify(found) + '\n', () => process.exit())
}

/** What TLS libraries of Node.js want, or false. The name of an address need not be sent, but must be checked. */
export function tlsOf({ tls, host }) {
  return tls ? { ...tls, host, rejectUnauthorized: true } : false
}
