// node openai_sdk.mjs URL OTHER_URL: everything that breaks nothing, at two webs of one Spool.

import { chat } from "./openai_chat.mjs";
import { endpoints } from "./openai_endpoints.mjs";
import { files } from "./openai_files.mjs";
import { responses } from "./openai_responses.mjs";
import { report, sdkAt } from "./openai_shared.mjs";

const [url, otherUrl] = process.argv.slice(2);
await report({ ...responses, ...chat, ...endpoints, ...files }, { here: sdkAt(url), there: sdkAt(otherUrl), url });
