/** The panels that extensions have on a page of ours. */
import { titleOf, useExtensions, type ExtensionPanel } from "../../extensions";
import { useWords } from "../../i18n";
import { Card } from "../../ui/basics";
import { Frame } from "./Frame";
import own from "./words";

export default function Panels({ on, asset }: { on: ExtensionPanel["on"]; asset?: string }) {
  const { t, language } = useWords(own);
  const shown = useExtensions().flatMap((extension) => extension.panels.filter((panel) => panel.on === on).map((panel) => ({ extension, panel })));
  return (
    <>
      {shown.map(({ extension, panel }) => {
        const title = titleOf(language, extension, panel, panel.panel);
        return (
          <Card key={`${extension.name}/${panel.panel}`} title={title} extra={<span className="quiet small">{t("from", { name: extension.name })}</span>}>
            <Frame key={asset} extension={extension.name} file={panel.file} title={title} height={panel.height} asset={asset} />
          </Card>
        );
      })}
    </>
  );
}
