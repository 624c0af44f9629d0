import { load } from "./commonjs.js";
const react = await load("react");
export const { createElement, StrictMode, useCallback, useEffect, useMemo, useRef, useState } = react;
export const { createRoot } = await load("react-dom/client");
