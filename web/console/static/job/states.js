/** The states of jobs and of connections, in words. */

import { t } from "../words.js";

const STATUS = {
  queued: () => t("queued"),
  running: () => t("running"),
  succeeded: () => t("succeeded"),
  failed: () => t("failed"),
  cancelled: () => t("cancelled"),
};
const CONNECTION = {
  idle: () => t("idle"),
  connecting: () => t("connecting"),
  live: () => t("connected"),
  waiting: () => t("reconnecting"),
  offline: () => t("offline"),
  stopped: () => t("cut"),
  refused: () => t("refused"),
  ended: () => t("ended"),
};

export const statusName = (status) => STATUS[status]?.() ?? status;
export const connectionName = (connection) => CONNECTION[connection]();
