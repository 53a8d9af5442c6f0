/** A page of an extension. */
import { useEffect } from "react";
import { useParams } from "react-router";
import { titleOf, type Extension as One } from "../../extensions";
import { useGet, type Items } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Empty, Page } from "../../ui/basics";
import { Frame } from "./Frame";
import own from "./words";

export default function Extension() {
  const { t, language } = useWords(own);
  const { name = "", page = "" } = useParams();
  const all = useGet<Items<One>>("/v1/extensions");
  const extension = all.data?.items.find((one) => one.name === name);
  const found = extension?.pages.find((one) => one.page === page);
  const title = extension && found ? titleOf(language, extension, found, found.page) : page;
  useEffect(() => { document.title = title; }, [title]);
  return (
    <Page title={title} back={{ to: "/extensions", label: t("back") }}>
      <Ask of={all} lines={8}>{() => (extension && found ? <Frame key={`${name}/${page}`} extension={name} file={found.file} title={title} /> : <Empty icon="alert" text={t("missing")} />)}</Ask>
    </Page>
  );
}
