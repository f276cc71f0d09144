// Reads the documents as their official tools do: OpenAPI by Redocly's linter, AsyncAPI by AsyncAPI's parser.
// usage: node documents.mjs OPENAPI ASYNCAPI
// Prints what is wrong, a line each, and exits 1 if there is an error.

import { readFileSync } from 'node:fs'
import { Parser } from '@asyncapi/parser'
import { createConfig, lintFromString } from '@redocly/openapi-core'

const [openapi, asyncapi] = process.argv.slice(2)
let errors = 0
const say = (isError, line) => {
  if (isError) errors += 1
  console.log(`${isError ? 'error' : 'note'}  ${line}`)
}

// What an orchestrator asks of the process cannot be refused, so it has no answer of the 400s.
const rules = { 'operation-4xx-response': 'off' }
const config = await createConfig({ extends: ['recommended'], rules })
const problems = await lintFromString({ source: readFileSync(openapi, 'utf8'), absoluteRef: openapi, config })
for (const { severity, ruleId, message, location } of problems) {
  say(severity === 'error', `openapi ${ruleId}: ${message} (${location?.[0]?.pointer ?? ''})`)
}

const { document, diagnostics } = await new Parser().parse(readFileSync(asyncapi, 'utf8'))
for (const { severity, code, message, path } of diagnostics) {
  say(severity === 0, `asyncapi ${code}: ${message} (${path.join('/')})`)
}
const messages = document?.components().messages().all().length ?? 0
if (messages === 0) say(true, 'asyncapi: the parser sees no messages')

console.log(`openapi: ${problems.length} remarks; asyncapi: ${messages} messages, ${diagnostics.length} remarks; ${errors} errors`)
process.exit(errors === 0 ? 0 : 1)
