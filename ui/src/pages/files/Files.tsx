/** Everything that is declared in files, by its kind. */
import { useGet } from "../../api";
import { useWords } from "../../i18n";
import { Ask, Page } from "../../ui/basics";
import { KINDS } from "./kinds";
import { Listed, type Listing } from "./Listed";
import own from "./words";

export default function Files() {
  const { t } = useWords(own);
  const files = useGet<Listing>("/v1/files");
  return (
    <Page title={t("title")} text={t("text")}>
      <Ask of={files}>{(of) => KINDS.filter((kind) => of.kinds.includes(kind)).map((kind) => <Listed key={kind} kind={kind} of={of} read={files.dataUpdatedAt} route="GET /v1/files" />)}</Ask>
    </Page>
  );
}
