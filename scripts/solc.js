// The npm compiler for py-solc-x, which asks two things of a solc: `--version`, and standard JSON from stdin to stdout.
//
// It is one thread of WebAssembly, and almost all of its time goes into single contracts. So where every file's code is asked
// for, the files are shared out over the processors: each process gets all sources and gives the output of its own files.
"use strict";

const { spawn } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const solc = require(path.join(__dirname, "..", "node_modules", "solc"));

const argument = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const base = argument("--base-path") || process.cwd();
const imports = (name) => {
  try {
    return { contents: fs.readFileSync(path.resolve(base, name), "utf8") };
  } catch (error) {
    return { error: error.message };
  }
};
const compile = (input) => JSON.parse(solc.compile(JSON.stringify(input), { import: imports }));

// The name under which the compiler knows what a file imports.
function imported(file, target, remappings) {
  if (target.startsWith(".")) return path.posix.join(path.posix.dirname(file), target);
  const fitting = remappings.map((one) => one.split("=")).filter(([prefix]) => target.startsWith(prefix));
  const [prefix, replacement] = fitting.reduce((one, other) => (other[0].length > one[0].length ? other : one), ["", ""]);
  return replacement + target.slice(prefix.length);
}

// Only what is deployed or linked takes time.
const work = (content) => (/^(contract|library)\b/m.test(content) && /\b(external|public)\b/.test(content) ? content.length : 0);

// Each file, those imported too, with the work that it is.
function files(input) {
  const found = new Map();
  const read = (name) => {
    if (found.has(name)) return;
    const { content = "" } = input.sources[name] || { content: imports(name).contents };
    found.set(name, work(content));
    for (const [, target] of content.matchAll(/^\s*import\b[^"';]*["']([^"']+)["']/gm)) {
      read(imported(name, target, input.settings.remappings || []));
    }
  };
  Object.keys(input.sources).forEach(read);
  return [...found.entries()];
}

// Most work first, each to the share that has least: lists of names.
function shares(found, count) {
  const all = Array.from({ length: count }, () => ({ names: [], work: 0 }));
  for (const [name, work] of found.sort((one, other) => other[1] - one[1])) {
    const least = all.reduce((one, other) => (other.work < one.work ? other : one));
    least.names.push(name);
    least.work += work;
  }
  return all.map((share) => share.names).filter((names) => names.length > 0);
}

function compileApart(input) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [__filename, "--standard-json", "--whole", "--base-path", base], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(Buffer.concat(chunks).toString("utf8")));
      else reject(new Error(`the compiler ended with ${code}`));
    });
    child.stdin.end(JSON.stringify(input));
  });
}

// Each process warns of all that it reads, and numbers every source but gives the syntax tree of its own alone.
function merge(outputs) {
  const errors = new Map(outputs.flatMap((output) => output.errors || []).map((error) => [JSON.stringify(error), error]));
  const sources = {};
  for (const [name, source] of outputs.flatMap((output) => Object.entries(output.sources))) {
    sources[name] = { ...sources[name], ...source };
  }
  const contracts = Object.assign({}, ...outputs.map((output) => output.contracts));
  return { contracts, errors: [...errors.values()], sources };
}

async function compileShared(input) {
  const selection = input.settings.outputSelection;
  const processors = os.availableParallelism();
  if (processors === 1 || Object.keys(selection).join() !== "*" || !JSON.stringify(selection).includes("evm.")) return compile(input);
  const names = files(input);
  const parts = shares(names, processors).map((share) => {
    const outputSelection = Object.fromEntries(share.map((name) => [name, selection["*"]]));
    return compileApart({ ...input, settings: { ...input.settings, outputSelection } });
  });
  const output = merge(await Promise.all(parts));
  // A file that the compiler knows and the reading of imports missed would have no code.
  const known = new Set(names.map(([name]) => name));
  return Object.keys(output.sources).every((name) => known.has(name)) ? output : compile(input);
}

async function main() {
  if (process.argv.includes("--version")) {
    console.log("solc, the solidity compiler commandline interface\nVersion: " + solc.version());
  } else if (process.argv.includes("--standard-json")) {
    const input = JSON.parse(fs.readFileSync(0, "utf8"));
    const output = process.argv.includes("--whole") ? compile(input) : await compileShared(input);
    process.stdout.write(JSON.stringify(output));
  } else {
    throw new Error("only --version and --standard-json are known here");
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
