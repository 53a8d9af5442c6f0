/** What waits for the person who is here: requests to decide about, and decisions about their own. */
import { Link } from "react-router";
import { useRequests, waiting } from "../access";
import { useWords } from "../i18n";
import { useWho } from "../session";
import { Icon } from "../ui/icons";

export default function Notices() {
  const { t } = useWords();
  const { me } = useWho();
  const requests = useRequests();
  const { decide, news } = waiting(requests.data?.items ?? [], me);
  const count = decide.length + news.length;
  if (count === 0) return null;
  const text = t(news.length > 0 ? "app.access.news" : "app.access.decide", { count });
  return <Link className="doing" to="/access" role="status" aria-label={text}><Icon name="user" size={14} /><span>{text}</span></Link>;
}
